"""The `tehon` command: picks the subcommand, and turns every Problem into one sentence and exit code 2.

Exit codes: 0 done; 1 an error of tehon's own; 2 something to put right in the input; 3 stopped early, state saved.
"""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module

from tehon import __version__
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

COMMANDS = ("demo", "train", "resume", "plan", "sample", "inspect")
EXIT_PROBLEM = 2
EXIT_STOPPED = 3


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="tehon", description=say("cli.tehon"), epilog=say("cli.exit_codes"))
    parser.add_argument("--version", action="version", version=f"tehon {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"tehon.cli.{name}")
        command = commands.add_parser(name, help=say(f"cli.{name}"), description=say(f"cli.{name}"))
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    known, rest = parser.parse_known_args(words)
    run: Callable[[argparse.Namespace, list[str]], int] = known.run
    try:
        return run(known, rest)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return EXIT_PROBLEM


def no_more(words: list[str]) -> None:
    """A Problem for words that a command does not know."""
    if words:
        raise Problem("unknown_option", option=words[0])
