"""`tehon ui`: the page in a browser."""

import argparse
from importlib import import_module

from tehon.cli.imports import left_out, models_made_late
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help=say("cli.host"))
    parser.add_argument("--port", type=int, default=7861, help=say("cli.port"))
    parser.add_argument("--no-browser", action="store_true", help=say("cli.no_browser"))


def run(options: argparse.Namespace) -> int:
    """The password, which any address but this machine's own needs, comes from TEHON_PASSWORD, so that it stands in no
    list of processes."""
    import gc
    import os

    from tehon.web.port import LOOPBACK, open_browser, take

    password = os.environ.get("TEHON_PASSWORD", "")
    if options.host and options.host not in LOOPBACK and not password:  # an empty one is refused below
        raise Problem("web_password", host=options.host)
    listeners = take(options.host, options.port)
    port: int = listeners[0].getsockname()[1]  # the system's choice where 0 was asked for
    if not options.no_browser:
        open_browser(options.host, port)
    gc.disable()  # until the page is served: nearly all that is made before stays
    with left_out("pydantic.v1"):  # FastAPI would ask it about each of its types
        with left_out("aiohttp", "requests"), models_made_late():  # the first two are for Socket.IO's clients
            import_module("nicegui")
        from tehon.web.server import serve

        serve(listeners, options.host, port, password)
    return 0
