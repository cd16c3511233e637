"""`tehon plan CONFIG.toml`: everything that is known before the first step."""

import argparse
import json
from pathlib import Path

from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help=say("cli.config"))
    parser.add_argument("--modules", action="store_true", help=say("cli.modules"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))
    parser.epilog = say("cli.settings_too")


def run(options: argparse.Namespace) -> int:
    from tehon.planning.module_table import table
    from tehon.planning.plan import make_plan
    from tehon.planning.report import as_data, as_text
    from tehon.settings.files import load_settings

    plan = make_plan(load_settings(options.config, options.settings))
    if options.modules and not options.json:
        print(table(plan))
        return 0
    print(json.dumps(as_data(plan), ensure_ascii=False) if options.json else as_text(plan))
    return 0
