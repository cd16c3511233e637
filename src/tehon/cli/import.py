"""`tehon import FILE` or `tehon import -- COMMAND…`: settings from kohya_ss, sd-scripts or a LoRA, with a report."""

import argparse
import sys
from pathlib import Path

from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=say("cli.import_file"))
    parser.add_argument("-o", "--out", type=Path, metavar="TOML", help=say("cli.import_out"))
    parser.add_argument("--overwrite", action="store_true", help=say("cli.switch_overwrite"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def stray(option: str, near: str) -> Problem | None:
    """An option of another program stands in a command that was given without the two dashes before it."""
    return None if near else Problem("import_dashes", option=option)


def run(options: argparse.Namespace) -> int:
    """Exit code 0 when the settings were taken over, whatever is still to fill in: the report says so."""
    from tehon.settings.kohya.read import bring, bring_text, bring_words
    from tehon.settings.kohya.report import as_data, as_text, as_toml

    words: list[str] = options.foreign
    if (options.file is None) == (not words):
        raise Problem("import_source")
    if words:
        source, result = " ".join(words)[:60], bring_words(words)
    elif str(options.file) == "-":
        source, result = "-", bring_text(sys.stdin.read(), options.file)
    else:
        source, result = str(options.file), bring(options.file)
    if options.out:
        from tehon.disk import write_new

        write_new(options.out, as_toml(result), options.overwrite)
    if options.json:
        print(json_text(as_data(result, source)))
        return 0
    print(as_text(result, source))
    if options.out:
        print("\n" + say("switch.written", path=options.out))
    return 0
