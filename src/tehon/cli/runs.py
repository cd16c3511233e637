"""`tehon runs [FOLDER]`: all runs with what they are doing, or how they ended; with `--remove RUN` removes one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, raise_all

if TYPE_CHECKING:
    from tehon.runs.layout import RunDirectory

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=say("cli.runs_folder"))
    parser.add_argument("--all", action="store_true", help=say("cli.runs_all", count=_SHOWN))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))
    parser.add_argument("--remove", nargs="+", default=[], metavar="RUN", help=say("cli.runs_remove"))
    parser.add_argument("--yes", action="store_true", help=say("cli.runs_yes"))


def run(options: argparse.Namespace) -> int:
    from tehon.cli.tables import cells, console, figures, show, words
    from tehon.runs.known import known_runs, runs_in
    from tehon.runs.status import look

    if options.remove or options.yes:
        return _remove(options)
    found = runs_in(options.folder) if options.folder else known_runs()
    if options.json:
        print(json_text([look(one).as_data() for one in found], 2))
        return 0
    screen = console()
    if not found:
        screen.print(say("cli.runs_none"), soft_wrap=True)
        return 0
    rows = [look(one) for one in found]
    shown = rows if options.all else [row for n, row in enumerate(rows) if n < _SHOWN or row.at_work]
    show(
        screen, [words(say("cli.column_run")), *figures()], [[row.run.path.name, *cells(row)] for row in shown], gives=0
    )
    for row in shown:
        if row.reason and not row.at_work:
            screen.print(f"{row.run.path.name}: {row.reason}", markup=False, soft_wrap=True)
    if len(shown) < len(rows):
        screen.print(say("cli.runs_more", count=len(rows) - len(shown)), soft_wrap=True)
    return 0


def _remove(options: argparse.Namespace) -> int:
    """All of them or, when one is not there or --yes is lacking, none."""
    from tehon.disk import sized
    from tehon.runs.removal import contents, remove_run

    if not options.remove:
        raise Problem("yes_alone")
    found = list(dict.fromkeys(_meant(text) for text in options.remove))
    if not options.yes:
        known = [(run, contents(run)) for run in found]
        raise_all(
            [
                Problem("removal_unsure", path=run.path, files=now.files, size=sized(now.bytes), loras=now.loras)
                for run, now in known
            ]
        )
    for run in found:
        remove_run(run)
        print(say("cli.runs_removed", path=run.path))
    return 0


def _meant(text: str) -> "RunDirectory":
    """Nothing is removed by a name that another run may have too."""
    from tehon.runs.known import find_run, is_run
    from tehon.runs.layout import RunDirectory

    run = find_run(text)
    if not is_run(Path(text)) and run.path.name != text:
        raise Problem("removal_unclear", name=text, directory=run.path.name)
    return RunDirectory(run.path.resolve())
