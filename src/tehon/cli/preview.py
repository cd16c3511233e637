"""`tehon preview RUN`: asks a run that is at work to draw its samples now."""

import argparse

from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="RUN", help=say("cli.run_at_work"))


def run(options: argparse.Namespace) -> int:
    from tehon.runs.inbox import ask
    from tehon.runs.known import find_run

    directory = find_run(options.directory, at_work=True)
    ask(directory, "preview")
    print(say("cli.preview_asked", path=directory.previews))
    return 0
