"""`tehon resume RUN [--section.field value]… [--allow-changes NAME…]`: goes on with a run, to the last bit."""

import argparse
import json
from typing import Any

from tehon.cli.imports import import_networks
from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.messages.catalogue import say
from tehon.processes import place_here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="RUN", help=say("cli.run_directory"))
    parser.add_argument("--allow-changes", nargs="+", default=[], metavar="NAME", help=say("cli.allow_changes"))
    parser.add_argument("--background", action="store_true", help=say("cli.background"))
    add_progress(parser)
    parser.epilog = say("cli.resume_settings")


def run(options: argparse.Namespace) -> int:
    from tehon.cli.train import finish, follow

    place = place_here()
    if place.rank:
        import_networks(options)
        return follow(place)

    from tehon.runs.known import find_run
    from tehon.runs.read import open_run, read_json
    from tehon.settings.files import reopen_settings

    directory = open_run(find_run(options.directory).path)
    filled = read_json(directory.origin).get("filled", [])
    reopen_settings(directory.settings, options.settings, filled)  # what is wrong is said without waiting for torch
    watcher = Watcher(options)
    if options.background:
        from tehon.cli.train import await_start
        from tehon.runs.launch import begin

        allowed = ["--allow-changes", *options.allow_changes] if options.allow_changes else []
        return await_start(begin(directory, [*_words(options.settings), *allowed]), watcher)

    import_networks(options)
    from tehon.training.run import resume_run

    return finish(resume_run(directory, watcher, options.settings, options.allow_changes), watcher)


def _words(settings: dict[str, Any]) -> list[str]:
    """Settings as words of a command line again."""
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings.items()]
