"""`tehon preview RUN`: asks a run that is at work to draw its samples now."""

import argparse
from pathlib import Path

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

_ENDS = ("finished", "stopped")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="RUN", help=say("cli.run_directory"))


def run(options: argparse.Namespace) -> int:
    from tehon.runs.read import open_run, rows

    directory = open_run(options.directory)
    events = rows(directory.events)
    if events and events[-1]["event"] in _ENDS:
        raise Problem("run_at_rest", path=directory.path)
    try:
        directory.inbox.mkdir(exist_ok=True)
        (directory.inbox / "preview").touch()
    except OSError as error:
        reason = error.strerror or error
        raise Problem("file_unwritable", field="RUN", path=directory.inbox, reason=reason) from None
    print(say("cli.preview_asked", path=directory.previews))
    return 0
