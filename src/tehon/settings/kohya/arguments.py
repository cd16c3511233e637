"""An optimizer's arguments, `name=value` there and here."""

import ast
from collections.abc import Mapping
from typing import Any

from tehon.messages.problem import Problem
from tehon.settings.kohya.lines import Outcome, Remark, carried, changed
from tehon.settings.kohya.rows import Around
from tehon.settings.optimizer_rules import read_arguments, resolved_name

_PRODIGY = {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"}
"""What prodigyopt, which sd-scripts takes Prodigy from, calls arguments of ours."""


def arguments(value: list[str], around: Around) -> Outcome:
    words = [_without_blanks(word) for word in value]
    if str(around.get("optimizer_type")).rpartition(".")[2].lower() != "prodigy":
        return carried({"optimizer.arguments": " ".join(words)})
    ours = {"optimizer.arguments": " ".join(_renamed(word, _PRODIGY) for word in words)}
    return (
        changed(ours, Remark("prodigy_arguments")) if ours["optimizer.arguments"] != " ".join(words) else carried(ours)
    )


def _renamed(word: str, names: Mapping[str, str]) -> str:
    name, equals, value = word.partition("=")
    return names.get(name.strip(), name) + equals + value


def _without_blanks(word: str) -> str:
    """One `name=value` as our own setting takes it, whose arguments are apart by blanks."""
    name, equals, value = word.partition("=")
    if not equals or " " not in value:
        return word
    try:
        value = str(ast.literal_eval(value)).replace(" ", "")
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return word
    return f"{name}={value}"


def arguments_back(own: Mapping[str, Any]) -> list[str] | None:
    text = own["optimizer.arguments"]
    try:
        found = read_arguments(text)
    except Problem:
        return text.split() or None
    words = [f"{name}={_plain(value)}" for name, value in found.items()]
    if resolved_name(own["optimizer.name"]) == "Prodigy":
        words = [_renamed(word, {ours: theirs for theirs, ours in _PRODIGY.items()}) for word in words]
    return words or None


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) and len(value) > 1 else str(value).replace(" ", "")
