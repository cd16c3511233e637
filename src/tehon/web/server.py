"""The server of the page: one process on this machine, which starts runs as processes of their own.

>>> serve(take("127.0.0.1", 7861), "127.0.0.1", 7861, password="")
"""

import gc
import socket
from functools import partialmethod
from pathlib import Path

from nicegui import app, ui
from nicegui.server import Server
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from tehon.runs.home import user_data_folder
from tehon.web.complaint import complain_of_uncaught
from tehon.web.files import Files
from tehon.web.guard import Guard
from tehon.web.late_api import LateApi
from tehon.web.port import LOOPBACK
from tehon.web.search import ADDRESS, places
from tehon.web.shell import of_browsers, page_routes
from tehon.web.workplace import Workplace

_PATIENCE = 30.0
"""Seconds for which a browser that does not answer is waited for. With NiceGUI's 3 a page was loaded anew, and what was
open in it closed, whenever a training kept the processors so busy that an answer took 2 seconds."""
_EFFORT = 1  # of zlib's 1 to 9: a fifth of the time that the usual 9 takes, and a fifth more to send
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#a93522"/>'
    '<path d="M8 11h16M16 6v17c0 2-2 3-4 3" stroke="#fff" stroke-width="3" fill="none" stroke-linecap="round"/></svg>'
)


def serve(listeners: list[socket.socket], host: str, port: int, password: str) -> None:
    """Serves the page until it is interrupted. Without a password `host` has to be one of this machine's own names."""
    assert password or host in LOOPBACK
    workplace = Workplace(user_data_folder())
    page_routes(workplace)
    _other_routes(workplace)
    app.router.routes.append(Route("/api/{rest:path}", LateApi()))
    hosts = LOOPBACK if host in LOOPBACK else None
    # NiceGUI would put the packing around all of it, and so around what `Files` leaves as it is.
    packing = Middleware(GZipMiddleware, compresslevel=_EFFORT)
    app.user_middleware[:0] = [Middleware(Guard, hosts=hosts, password=password), Middleware(Files), packing]
    app.on_startup(_collect_garbage)
    app.on_exception(complain_of_uncaught)
    setattr(Server, "run", partialmethod(Server.run, sockets=listeners))  # noqa: B010  ui.run has no way to say it
    ui.run(
        host=host,
        port=port,
        title="tehon",
        favicon=ICON,
        dark=workplace.preferences.dark,
        language=of_browsers(workplace.preferences.language),
        reload=False,
        show=False,
        tailwind=False,
        gzip_middleware_factory=None,
        show_welcome_message=False,
        reconnect_timeout=_PATIENCE,
    )


def _collect_garbage() -> None:
    """Again, but not among what was loaded."""
    gc.freeze()
    gc.enable()


def _other_routes(workplace: Workplace) -> None:
    """Small and large copies of pictures, for tokens that the page gave out; made pages; what settings are found by."""

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

    app.get(ADDRESS)(places)
    app.get("/thumb/{token}")(thumb)
    app.get("/large/{token}")(large)
