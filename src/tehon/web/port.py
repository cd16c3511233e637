"""The port of the page. It is taken before the page is loaded: who comes meanwhile waits, and so the browser can start.

>>> listeners = take("127.0.0.1", 7861)
"""

import errno
import socket
import threading

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WAITING = 100  # visitors
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def take(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen there, all at one port: one for each address of the name, since browsers may look for
    `localhost` at ::1 first. Addresses that this machine lacks are passed over. A Problem when none can be served."""
    taken: list[socket.socket] = []
    trouble: OSError | OverflowError | None = None
    try:
        for family, address in _addresses(host):
            own = taken[0].getsockname()[1] if taken else port
            try:
                taken.append(socket.create_server((address, own), family=family, backlog=_WAITING))
            except OSError as error:
                trouble = error
                if error.errno not in _NOT_HERE:
                    raise
    except (OSError, OverflowError) as error:
        trouble = error
        for listener in taken:
            listener.close()
        taken.clear()
    if not taken:
        reason = getattr(trouble, "strerror", None) or trouble
        if isinstance(trouble, socket.gaierror) or getattr(trouble, "errno", None) in _NOT_HERE:
            raise Problem("web_host", host=host, reason=reason)
        raise Problem("web_port", host=host, port=port, reason=reason)
    return taken


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Each once, although a list of hosts may name one twice. An empty name is none, since some systems take it for all
    of their addresses."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except UnicodeError:  # names are encoded before they are looked up: a part may not be empty, nor over 63 letters
        found = []
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, say("reason.no_such_name"))
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))


def open_browser(host: str, port: int) -> None:
    """Shows the page in a new window of the user's browser, which starts while the page is still loaded."""
    import webbrowser

    name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    threading.Thread(target=webbrowser.open, args=(f"http://{name}:{port}/",), daemon=True).start()
