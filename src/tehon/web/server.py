"""The server of the page: one process on this machine, which starts runs as processes of their own.

>>> serve("127.0.0.1", 7861, password="", show=False)
"""

import socket
from pathlib import Path

from nicegui import app, ui
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from tehon.messages.problem import Problem
from tehon.runs.home import user_data_folder
from tehon.web.api import add_api
from tehon.web.guard import LOOPBACK, Guard
from tehon.web.shell import page_routes
from tehon.web.workplace import Workplace

_PATIENCE = 30.0
"""Seconds for which a browser that does not answer is waited for. With NiceGUI's 3 a page was loaded anew, and what was
open in it closed, whenever a training kept the processors so busy that an answer took 2 seconds."""
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#a93522"/>'
    '<path d="M8 11h16M16 6v17c0 2-2 3-4 3" stroke="#fff" stroke-width="3" fill="none" stroke-linecap="round"/></svg>'
)


def serve(host: str, port: int, password: str, show: bool) -> None:
    """Serves the page until it is interrupted. A Problem when it would be open to others without a password, or when
    the port is taken."""
    if host not in LOOPBACK and not password:
        raise Problem("web_password", host=host)
    check_port(host, port)
    workplace = Workplace(user_data_folder())
    page_routes(workplace)
    _picture_routes(workplace)
    add_api(app)
    hosts = LOOPBACK if host in LOOPBACK else None
    app.user_middleware.insert(0, Middleware(Guard, hosts=hosts, password=password))
    ui.run(
        host=host,
        port=port,
        title="tehon",
        favicon=ICON,
        dark=workplace.preferences.dark,
        language="ja" if workplace.preferences.language == "ja" else "en-US",
        reload=False,
        show=show,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=_PATIENCE,
    )


def check_port(host: str, port: int) -> None:
    """A Problem when nothing can be served there."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except (OSError, OverflowError) as error:
        raise Problem("web_port", host=host, port=port, reason=getattr(error, "strerror", None) or error) from None


def _picture_routes(workplace: Workplace) -> None:
    """Small and large copies of pictures, for tokens that the page gave out."""

    def answer(copy: Path | None, request: Request) -> Response:
        """A copy has a name by its picture's path, size and times, so it need not be sent where the browser has it."""
        if copy is None:
            return Response(status_code=404)
        facts = {"Cache-Control": "no-cache", "ETag": f'"{copy.stem}"'}
        if request.headers.get("if-none-match") == facts["ETag"]:
            return Response(status_code=304, headers=facts)
        return FileResponse(copy, headers=facts)

    def made(name: str) -> Response:
        html = workplace.pages.get(name)
        return HTMLResponse(html) if html else Response(status_code=404)

    app.get("/made/{name}")(made)

    def thumb(token: str, request: Request) -> Response:
        return answer(workplace.pictures.thumb(token), request)

    def large(token: str, request: Request) -> Response:
        return answer(workplace.pictures.large(token), request)

    app.get("/thumb/{token}")(thumb)
    app.get("/large/{token}")(large)
