"""Who may talk to the page: the right host name, the right origin, and, from another machine, the password.

A page on the internet can make a browser send requests to 127.0.0.1. So every request and every WebSocket has to name a
host that we answer to (against DNS rebinding), and an origin, where the browser sends one, that is ourselves.
"""

import hmac
import secrets
from collections.abc import Collection
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tehon.messages.catalogue import language, say

COOKIE = "tehon"
LOGIN = "/login"
_MOST = 64 * 1024**2  # bytes of a request; uploads of pictures come one by one


class Guard:
    """ASGI middleware around the whole page. `hosts` are the names that it answers to; None: any, which needs a
    password."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, password: str) -> None:
        self.app = app
        self.hosts = hosts
        self.password = password
        self.session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """What to say instead of the page, or None to let it through."""
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.hosts is not None and _name_of(host) not in self.hosts:
            return PlainTextResponse(say("web.wrong_host", host=host), 403)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse(say("web.wrong_origin"), 403)
        if not headers.get("content-length", "0").isdigit() or int(headers.get("content-length", 0)) > _MOST:
            return PlainTextResponse(say("web.too_large"), 413)
        if not self.password or self._knows(headers.get("cookie", "")):
            return None
        if scope["type"] == "http" and scope["path"] == LOGIN and scope["method"] == "POST":
            return await self._login(Request(scope, receive))
        return HTMLResponse(_login_page(), 401)

    def _knows(self, cookies: str) -> bool:
        found = SimpleCookie(cookies).get(COOKIE)
        return found is not None and hmac.compare_digest(found.value, self.session)

    async def _login(self, request: Request) -> Response:
        given = parse_qs((await request.body()).decode("utf8", "replace")).get("password", [""])[0]
        if not hmac.compare_digest(given.encode(), self.password.encode()):
            return HTMLResponse(_login_page(say("web.wrong_password")), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self.session, httponly=True, samesite="strict")
        return answer


def _name_of(host: str) -> str:
    """The host without its port."""
    return (urlsplit(f"//{host}").hostname or "").lower()


def _login_page(trouble: str = "") -> str:
    return f"""<!doctype html><html lang="{language()}"><meta charset="utf-8"><title>tehon</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px system-ui;display:grid;place-items:center;height:90vh;background:#f7f4ee;color:#1d1b19}}
form{{display:grid;gap:12px;width:260px}}input,button{{font:inherit;padding:10px;border:1px solid #999;
border-radius:8px}}
button{{background:#a93522;color:#fff;border:0}}</style>
<form method="post" action="{LOGIN}"><b>tehon</b><label for="p">{say("web.password")}</label>
<input id="p" type="password" name="password" autofocus required><button>{say("web.login")}</button>
<span role="alert">{trouble}</span></form></html>"""
