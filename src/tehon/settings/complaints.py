"""What pydantic says about wrong settings, as Problems: one sentence for each mistake, with the name of its field."""

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from tehon.messages.problem import Problem
from tehon.settings.fields import fields


def complaints(error: ValidationError, place: str = "") -> list[Problem]:
    """A Problem for each wrong field. `place` names the table when it is not the whole tree but a set of pictures."""
    found = [_complaint({**row}, place) for row in error.errors()]
    # A union reports each of its branches; the first says it all.
    return list({(p.key, p.values["field"]): p for p in reversed(found)}.values())[::-1]


def _complaint(row: dict[str, Any], place: str) -> Problem:
    known = {field.name: field for field in fields()}
    if place:
        name, shown = f"data.{row['loc'][0]}", f"{place}.{row['loc'][0]}"
    else:
        name = shown = ".".join(str(part) for part in row["loc"][:2])
    if row["type"] == "extra_forbidden":
        return unknown_key(shown, name)
    if row["type"] == "missing":
        if name in known:
            return Problem("key_missing", field=name, help=known[name].help)
        first = next(field for field in known.values() if field.name.startswith(f"{name}.") and field.required)
        return Problem("key_missing", field=first.name, help=first.help)
    if name in known:
        return Problem("wrong_value", field=shown, value=repr(row["input"]), expected=known[name].expected)
    return Problem("not_a_table", field=name)


def unknown_key(shown: str, name: str) -> Problem:
    """The Problem for a name that no setting has, with the nearest that one has."""
    names = [field.name for field in fields()]
    short = {n.partition(".")[2]: n for n in names}
    field = name.rpartition(".")[2]
    near = [short[field]] if field in short else get_close_matches(name, names, 1, 0.7)
    near = near or [short[n] for n in get_close_matches(field, short, 1, 0.7)]
    if near:
        return Problem("unknown_key_near", field=shown, near=near[0])
    return Problem("unknown_key", field=shown)
