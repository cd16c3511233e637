"""`tehon save RUN`: asks a run that is at work to save a state and a LoRA now."""

import argparse

from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="RUN", help=say("cli.run_at_work"))


def run(options: argparse.Namespace) -> int:
    from tehon.runs.inbox import ask
    from tehon.runs.known import find_run

    directory = find_run(options.directory, at_work=True)
    ask(directory, "save")
    print(say("cli.save_asked", state=directory.state, weights=directory.weights))
    return 0
