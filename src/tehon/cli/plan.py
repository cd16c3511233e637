"""`tehon plan CONFIG.toml`: everything that is known before the first step, problems first."""

import argparse
import sys
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.disk import is_there
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help=say("cli.config"))
    parser.add_argument("--modules", action="store_true", help=say("cli.modules"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))
    parser.add_argument("--sheet", type=Path, metavar="PNG", help=say("cli.sheet"))
    parser.add_argument("--overwrite", action="store_true", help=say("cli.switch_overwrite"))
    parser.epilog = say("cli.settings_too")


def run(options: argparse.Namespace) -> int:
    """Exit code 2 when there are problems; the plan is then of what is left without them."""
    from tehon.cli.main import EXIT_PROBLEM
    from tehon.planning.module_table import table
    from tehon.planning.plan import draft_plan
    from tehon.planning.report import as_data, as_text
    from tehon.settings.files import load_settings

    if options.sheet and not options.overwrite and is_there(options.sheet):
        raise Problem("file_exists", path=options.sheet)
    plan = draft_plan(load_settings(options.config, options.settings))
    problems = plan.troubles.problems
    for problem in problems:
        print(problem, file=sys.stderr)
    if options.json:
        print(json_text(as_data(plan)))
    else:
        if problems:
            print(say("plan.without", count=len(problems)))
        print(table(plan) if options.modules else as_text(plan))
    if options.sheet:
        from tehon.planning.sheet import write_sheet

        undrawn = write_sheet(plan, options.sheet)
        if undrawn:
            print(say("notice.letters_undrawn", letters=undrawn[:20]), file=sys.stderr)
    return EXIT_PROBLEM if problems else 0
