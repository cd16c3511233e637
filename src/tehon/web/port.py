"""The port of the page. It is taken before the page is loaded: who comes meanwhile waits, and so the browser can start.

>>> listener = take("127.0.0.1", 7861)
"""

import socket
import threading

from tehon.messages.problem import Problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WAITING = 100  # visitors


def take(host: str, port: int) -> socket.socket:
    """A socket that listens there. A Problem when nothing can be served there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_WAITING)
    except (OSError, OverflowError) as error:
        raise Problem("web_port", host=host, port=port, reason=getattr(error, "strerror", None) or error) from None


def open_browser(host: str, port: int) -> None:
    """Shows the page in a new window of the user's browser, which starts while the page is still loaded."""
    import webbrowser

    name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    threading.Thread(target=webbrowser.open, args=(f"http://{name}:{port}/",), daemon=True).start()
