"""`tehon runs [FOLDER]`: all runs with what they are doing, or how they ended."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=say("cli.runs_folder"))
    parser.add_argument("--all", action="store_true", help=say("cli.runs_all", count=_SHOWN))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def run(options: argparse.Namespace) -> int:
    from tehon.cli.tables import cells, console, figures, show, words
    from tehon.runs.known import known_runs, runs_in
    from tehon.runs.status import look

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
