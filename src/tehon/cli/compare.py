"""`tehon compare RUN RUN…`: settings that differ, curves and pictures of runs side by side."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN", help=say("cli.run_directory"))
    parser.add_argument("others", nargs="+", metavar="RUN", help=say("cli.other_runs"))
    parser.add_argument("--out", type=Path, default=Path("compare.html"), metavar="HTML", help=say("cli.compare_out"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def run(options: argparse.Namespace) -> int:
    from tehon.reports.comparison import as_data, as_page, as_text, compare
    from tehon.runs.known import find_run
    from tehon.runs.read import open_run

    found = compare([open_run(find_run(text).path) for text in (options.first, *options.others)])
    try:
        options.out.write_text(as_page(found), "utf8")
    except OSError as error:
        raise Problem("file_unwritable", field="--out", path=options.out, reason=error.strerror or error) from None
    if options.json:
        print(json_text(as_data(found) | {"page": str(options.out)}, 2))
    else:
        print(as_text(found))
        print(say("cli.page", path=options.out))
    return 0
