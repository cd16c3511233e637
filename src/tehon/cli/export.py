"""`tehon export CONFIG.toml OUT`: settings for kohya_ss (.json) or sd-scripts (.toml), and what can't be said there."""

import argparse
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help=say("cli.config"))
    parser.add_argument("out", type=Path, metavar="OUT", help=say("cli.export_out"))
    parser.add_argument("--overwrite", action="store_true", help=say("cli.switch_overwrite"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))
    parser.epilog = say("cli.settings_too")


def run(options: argparse.Namespace) -> int:
    """Exit code 0 when the files are written, whatever can't be said in them: the report says so."""
    from tehon.disk import write_new
    from tehon.settings.files import load_settings
    from tehon.settings.kohya.export import export
    from tehon.settings.kohya.report import shown

    out: Path = options.out
    if out.suffix.lower() not in (".json", ".toml"):
        raise Problem("export_ending", path=out)
    result = export(load_settings(options.config, options.settings), str(out))
    for name, text in result.files.items():
        write_new(Path(name), text, options.overwrite)
    if options.json:
        lost = {name: {"here": here, "there": there} for name, (here, there) in result.lost.items()}
        print(json_text({"files": list(result.files), "lost": lost}))
        return 0
    for name in result.files:
        print(say("switch.written", path=name))
    print(say("switch.lost", count=len(result.lost)) if result.lost else say("switch.lost_none"))
    for name, (here, there) in result.lost.items():
        print("  " + say("switch.lost_line", name=name, here=shown(here), there=shown(there)))
    return 0
