"""Rows for options that have no counterpart, and small conversions that many rows share."""

from collections.abc import Callable, Mapping
from typing import Any

from tehon.settings.kohya.lines import Outcome, Remark, carried, changed, dropped, refused
from tehon.settings.kohya.rows import Around, Back, Carry, Row


def needless(option: str, kind: str, reason: str) -> Row:
    """An option that tehon has no use for: the training is the same without it."""
    return Row(option, kind, carry=_unless_off(lambda value: dropped(Remark(reason))))


def lacking(option: str, kind: str, reason: str) -> Row:
    """An option that tehon can't follow, and without which the training would be another one."""
    return Row(option, kind, carry=_unless_off(lambda value: refused(Remark(reason))))


def _unless_off(outcome: Callable[[Any], Outcome]) -> Carry:
    def carry(value: Any, around: Around) -> Outcome:
        return outcome(value) if value else carried({})

    return carry


def renamed(target: str, names: Mapping[str, Any], reason: str = "not_a_choice") -> tuple[Carry, Back]:
    """Conversions for a choice whose values have other names here: {theirs: ours}; of several names of one value the
    first is theirs. Others are refused."""
    known = {name.lower(): value for name, value in names.items()}
    theirs = {value: name for name, value in reversed(list(names.items()))}

    def carry(value: Any, around: Around) -> Outcome:
        name = str(value).lower()
        if name not in known:
            return refused(Remark(reason, {"value": value, "choices": ", ".join(names)}))
        return carried({target: known[name]})

    def back(settings: Mapping[str, Any]) -> Any:
        return theirs.get(settings[target])

    return carry, back


def at_least(target: str, lowest: float, reason: str) -> Carry:
    """Takes values from `lowest` on; others become that."""

    def carry(value: Any, around: Around) -> Outcome:
        if value < lowest:
            return changed({target: lowest}, Remark(reason, {"lowest": lowest}))
        return carried({target: value})

    return carry
