"""`tehon compare RUN RUN…`: settings that differ, curves and pictures of runs side by side."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.disk import write_new
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN", help=say("cli.run_directory"))
    parser.add_argument("others", nargs="+", metavar="RUN", help=say("cli.other_runs"))
    parser.add_argument("--out", type=Path, default=Path("compare.html"), metavar="HTML", help=say("cli.compare_out"))
    parser.add_argument("--overwrite", action="store_true", help=say("cli.switch_overwrite"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def run(options: argparse.Namespace) -> int:
    from tehon.reports.comparison import as_data, as_page, as_text, compare
    from tehon.runs.known import find_run
    from tehon.runs.read import open_run

    found = compare([open_run(find_run(text).path) for text in (options.first, *options.others)])
    write_new(options.out, as_page(found), options.overwrite)
    if options.json:
        print(json_text(as_data(found) | {"page": str(options.out)}, 2))
    else:
        print(as_text(found))
        print(say("cli.page", path=options.out))
    return 0
