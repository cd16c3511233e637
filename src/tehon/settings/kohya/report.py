"""An import as text for people, as data for machines, and as the TOML that it came to.

>>> print(as_text(result, "last-year.json"))
"""

import json
from collections.abc import Iterator
from typing import Any

import tomli_w

from tehon.messages.catalogue import say
from tehon.settings.fields import fields
from tehon.settings.kohya.carry import Import
from tehon.settings.kohya.lines import FATES, Line

_WIDEST = 70
_HEADS = {
    "carried": lambda count: say("switch.carried", count=count),
    "changed": lambda count: say("switch.changed", count=count),
    "dropped": lambda count: say("switch.dropped", count=count),
    "assumed": lambda count: say("switch.assumed", count=count),
}


def as_text(result: Import, source: str, carried: bool = True) -> str:
    """The whole report; without `carried` only what is not simply the same."""
    return "\n".join(_text(result, source, carried))


def as_data(result: Import, source: str) -> dict[str, Any]:
    return {
        "source": source,
        "lines": [line.as_data() for line in result.lines],
        "settings": result.tree,
        "missing": result.missing,
        "problems": [str(problem) for problem in result.problems],
    }


def as_toml(result: Import) -> str:
    """The settings in the order of our own reference, with a comment for each that is still to fill in."""
    found: list[str] = []
    order = list(dict.fromkeys(field.name.partition(".")[0] for field in fields()))
    for section in order:
        names = [field.name.partition(".")[2] for field in fields() if field.name.startswith(f"{section}.")]
        table = result.tree.get(section, {})
        kept = {name: table[name] for name in names if name in table and table[name] is not None}
        open_names = [name for name in result.missing if name.startswith(f"{section}.")]
        if kept or open_names:
            lines = [f'# {name.partition(".")[2]} = ""  # {say("switch.comment_missing")}\n' for name in open_names]
            plain = {name: value for name, value in kept.items() if not _is_tables(value)}
            tables = {name: value for name, value in kept.items() if _is_tables(value)}
            text = tomli_w.dumps({section: plain}) if plain else f"[{section}]\n"
            found.append(text + "".join(lines))
            if tables:
                rows = tables["sets"]
                found += [f"[[{section}.sets]]\n{tomli_w.dumps(row)}" for row in rows]
    return "\n".join(found)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _text(result: Import, source: str, carried: bool) -> Iterator[str]:
    yield say("switch.title", count=sum(line.fate != "assumed" for line in result.lines), source=source)
    for fate in FATES:
        lines = [line for line in result.lines if line.fate == fate]
        if fate == "carried" and not carried:
            lines = [line for line in lines if line.outcome.differences]
        if lines:
            yield ""
            yield _HEADS[fate](len(lines))
            for line in lines:
                yield from _line(line)
    if result.missing:
        yield ""
        yield say("switch.missing", names=", ".join(result.missing))
    if result.problems:
        yield ""
        yield say("switch.problems")
        yield from (f"  {problem}" for problem in result.problems)


def _line(line: Line) -> Iterator[str]:
    own = line.outcome
    left = line.key if line.value is None else f"{line.key} = {shown(line.value)}"
    right = ", ".join(f"{name} = {shown(value)}" for name, value in own.settings.items())
    yield f"  {left}{f'  →  {right}' if right else ''}"
    yield from (f"      {reason}" for reason in own.reasons)
    yield from (f"      {say('switch.differs', text=remark)}" for remark in own.differences)


def shown(value: Any) -> str:
    """A value on one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
