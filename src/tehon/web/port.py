"""The port of the page. It is taken before the page is loaded: who comes meanwhile waits, and so the browser can start.

>>> listeners = take("127.0.0.1", 7861)
"""

import errno
import socket
import threading

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
        for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            own = taken[0].getsockname()[1] if taken else port
            try:
                taken.append(socket.create_server((str(place[0]), own), family=family, backlog=_WAITING))
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
        raise Problem("web_port", host=host, port=port, reason=getattr(trouble, "strerror", None) or trouble)
    return taken


def open_browser(host: str, port: int) -> None:
    """Shows the page in a new window of the user's browser, which starts while the page is still loaded."""
    import webbrowser

    name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    threading.Thread(target=webbrowser.open, args=(f"http://{name}:{port}/",), daemon=True).start()
