"""The HTTP interface, which is imported when somebody asks it something: the page is there sooner so."""

from threading import Lock

from nicegui import run
from starlette.types import ASGIApp, Receive, Scope, Send


class LateApi:
    """The interface under /api as an ASGI application that is made at the first request, in a thread."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.making = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app or await run.io_bound(self.made)
        if app is not None:  # else the server is going down
            await app(scope, receive, send)

    def made(self) -> ASGIApp:
        with self.making:
            if self.app is None:
                from tehon.web.api import api_app

                self.app = api_app()
        return self.app
