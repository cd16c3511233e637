"""`tehon ui`: the page in a browser."""

import argparse

from tehon.cli.imports import left_out
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help=say("cli.host"))
    parser.add_argument("--port", type=int, default=7861, help=say("cli.port"))
    parser.add_argument("--no-browser", action="store_true", help=say("cli.no_browser"))


def run(options: argparse.Namespace) -> int:
    """The password, which any address but this machine's own needs, comes from TEHON_PASSWORD, so that it stands in no
    list of processes."""
    import os

    with left_out("aiohttp", "requests"):  # only Socket.IO's clients use them, and their import is a fifth of the start
        from tehon.web.server import serve

    serve(options.host, options.port, os.environ.get("TEHON_PASSWORD", ""), show=not options.no_browser)
    return 0
