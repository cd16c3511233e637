"""NiceGUI's scripts and styles, straight from its folder.

A page is made of twenty of them. Each would else pass through five layers and a thread for every 64 KB, which together
took a third of a second before anything could be drawn.
"""

import gzip
from contextlib import suppress
from pathlib import Path

import nicegui
from nicegui.dependencies import js_components
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tehon.web.port import LOOPBACK

_ADDRESS = f"/_nicegui/{nicegui.__version__}/"
_FOLDER = (Path(nicegui.__file__).parent / "static").resolve()
_KINDS = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".woff2": "font/woff2"}
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
_SHORT = 1000  # bytes that are not worth being packed
_EFFORT = 1  # of zlib's 1 to 9: a fifth of the time of 9, for a fifth more to send


class Files:
    """ASGI middleware. Their addresses have the version or a digest in them, so that a browser can keep them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = _file(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if file is None:
            await self.app(scope, receive, send)
        else:
            near = (scope.get("client") or ("",))[0] in LOOPBACK
            await _answer(file, packed=not near and "gzip" in Headers(scope=scope).get("accept-encoding", ""))(
                scope, receive, send
            )


def _file(path: str) -> Path | None:
    """The file at an address; None for addresses that are something else's."""
    kind, _, name = path.removeprefix(_ADDRESS).partition("/") if path.startswith(_ADDRESS) else ("", "", "")
    if kind == "components" and name in js_components:
        return js_components[name].path
    if kind == "static":
        with suppress(OSError, ValueError):  # names that no file can have
            file = (_FOLDER / name).resolve()
            if file.is_relative_to(_FOLDER) and file.suffix in _KINDS and file.is_file():
                return file
    return None


def _answer(file: Path, packed: bool) -> Response:
    """`packed` for browsers of other machines, if they can read it: packing takes longer than to send it to our own."""
    content, facts = file.read_bytes(), dict(_KEPT)
    if packed and len(content) > _SHORT and file.suffix != ".woff2":
        content = gzip.compress(content, _EFFORT)
        facts["Content-Encoding"] = "gzip"
    return Response(content, headers=facts, media_type=_KINDS[file.suffix])
