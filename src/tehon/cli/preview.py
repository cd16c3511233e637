"""`tehon preview RUN`: asks a run that is at work to draw its samples now."""

import argparse
from pathlib import Path

from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="RUN", help=say("cli.run_directory"))


def run(options: argparse.Namespace) -> int:
    from tehon.runs.inbox import ask
    from tehon.runs.read import open_run

    directory = open_run(options.directory)
    ask(directory, "preview")
    print(say("cli.preview_asked", path=directory.previews))
    return 0
