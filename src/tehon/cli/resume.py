"""`tehon resume RUN`: goes on with a run that was stopped."""

import argparse
from pathlib import Path

from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="RUN", help=say("cli.run_directory"))
    add_progress(parser)


def run(options: argparse.Namespace) -> int:
    from tehon.cli.train import finish
    from tehon.runs.read import latest_state, open_run

    directory = open_run(options.directory)
    latest_state(directory)
    watcher = Watcher(options)

    from tehon.training.run import resume_run

    return finish(resume_run(directory, watcher), watcher)
