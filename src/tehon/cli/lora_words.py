"""LoRAs on a command line: FILE, FILE:STRENGTH or FILE:STRENGTH:TEXT, and the options that tools for them share."""

import argparse
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

if TYPE_CHECKING:
    from tehon.catalog.model import Model
    from tehon.surgery.lora_layers import LoraLayers


class AddLora(argparse.Action):
    """Collects {"file": …, "blocks": …}; `--blocks` belongs to the LoRA before it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        rows: list[dict[str, str]] = list(namespace.loras)
        if self.dest == "loras":
            rows.append({"file": str(values), "blocks": ""})
        elif not rows:
            raise Problem("blocks_first")
        else:
            rows[-1] = {**rows[-1], "blocks": str(values)}
        namespace.loras = rows


def add_loras(parser: argparse.ArgumentParser) -> None:
    """`--lora`, as often as wanted, each with its `--blocks`."""
    add = parser.add_argument
    add("--lora", dest="loras", action=AddLora, default=[], metavar="FILE[:STRENGTH[:TEXT]]", help=say("cli.loras"))
    add("--blocks", dest="blocks", action=AddLora, metavar="NUMBERS", help=say("cli.blocks"))


def add_result(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    """Where the result goes and what it looks like."""
    parser.add_argument("-o", "--out", type=Path, required=needed, help=say("cli.tool_out"))
    parser.add_argument("--overwrite", action="store_true", help=say("cli.tool_overwrite"))
    parser.add_argument("--json", action="store_true", help=say("cli.json"))


def add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=("float", "fp16", "bf16"), default="", help=say("cli.tool_precision"))


def add_rules(parser: argparse.ArgumentParser) -> None:
    """How many ranks are kept."""
    rules = parser.add_mutually_exclusive_group()
    rules.add_argument("--sv-ratio", type=float, metavar="NUMBER", help=say("cli.sv_ratio"))
    rules.add_argument("--sv-fro", type=float, metavar="SHARE", help=say("cli.sv_fro"))
    rules.add_argument("--sv-cumulative", type=float, metavar="SHARE", help=say("cli.sv_cumulative"))


def rule_of(options: argparse.Namespace) -> tuple[str, float]:
    """(rule of `tehon.surgery.factors`, its number); empty without one."""
    for name in ("sv_ratio", "sv_fro", "sv_cumulative"):
        value = getattr(options, name)
        if value is not None:
            return name, value
    return "", 0.0


def opened(options: argparse.Namespace) -> "list[LoraLayers]":
    """The LoRAs of a command line."""
    from tehon.surgery.lora_layers import open_lora

    found: list[LoraLayers] = []
    for row in options.loras:
        file, strengths = split(row["file"])
        strength = strengths[0] if strengths else 1.0
        found.append(open_lora(file, strength, strengths[1] if len(strengths) > 1 else None, row["blocks"]))
    return found


def split(word: str) -> tuple[Path, list[float]]:
    """The file and the numbers behind it; a colon in the path itself, as on Windows, stays there."""
    numbers: list[float] = []
    while not _there(word) and len(numbers) < 2:
        start, colon, end = word.rpartition(":")
        try:
            number = float(end)
        except ValueError:
            if colon and _there(start):
                raise Problem("strength_not_finite", field="--lora", path=start) from None
            break
        if not colon:
            break
        word, numbers = start, [number, *numbers]
    if not all(map(isfinite, numbers)):
        raise Problem("strength_not_finite", field="--lora", path=word)
    return Path(word), numbers


def base_model(field: str, path: str) -> "Model":
    """The model that a word of a tool names; what is wrong with it is said of that word, not of a setting."""
    from tehon.catalog.detect import find_networks

    try:
        return find_networks(path)
    except Problem as problem:
        if len(problem.all) > 1:
            raise
        if problem.key == "checkpoint_is_lora":
            raise Problem("word_is_lora", field=field, path=path) from None
        raise Problem(problem.key, **{**problem.values, "field": field}) from None


def _there(word: str) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # too long a name
        return False
