"""Settings from TOML and options, and back to TOML. Every mistake becomes one sentence that names its field.

>>> settings = load_settings(Path("mofu.toml"), {"network.rank": 16})
"""

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from tehon.messages.problem import Problem, raise_all
from tehon.settings.fields import fields
from tehon.settings.settings import Settings, check_rules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tree = dict[str, Any]


def load_settings(file: Path | None, options: Mapping[str, Any]) -> Settings:
    """Settings from a TOML file, if there is one, with {dotted name: value} on top."""
    tree: Tree = read_toml(file) if file else {}
    for name, value in options.items():
        section, _, field = name.partition(".")
        inner = tree.setdefault(section, {})
        if isinstance(inner, dict):
            inner[field] = value
    return validate(tree)


def read_toml(file: Path) -> Tree:
    """The tables of a TOML file; a Problem when it cannot be read."""
    try:
        return tomllib.loads(file.read_text("utf8"))
    except FileNotFoundError:
        raise Problem("file_missing", path=file) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem("file_unreadable", path=file, reason=error) from None
    except tomllib.TOMLDecodeError as error:
        raise Problem("not_toml", path=file, reason=error) from None


def validate(tree: Tree) -> Settings:
    """Checked settings; Problems for all that is wrong, at once."""
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        found = [_problem({**row}) for row in error.errors()]
        # A union reports each of its branches; the first says it all.
        raise_all(list({(p.key, p.values["field"]): p for p in reversed(found)}.values())[::-1])
        raise
    check_rules(settings)
    return settings


def to_toml(settings: Settings) -> str:
    """TOML that gives the same settings when read; empty settings are left out, as TOML has no empty value."""
    return tomli_w.dumps(settings.model_dump(exclude_none=True))


def _problem(row: Tree) -> Problem:
    """The Problem for one row of pydantic's report."""
    known = {field.name: field for field in fields()}
    name = ".".join(str(part) for part in row["loc"][:2])
    if row["type"] == "extra_forbidden":
        return unknown_key(name)
    if row["type"] == "missing":
        if name in known:
            return Problem("key_missing", field=name, help=known[name].help)
        first = next(field for field in known.values() if field.name.startswith(f"{name}.") and field.required)
        return Problem("key_missing", field=first.name, help=first.help)
    if name in known:
        return Problem("wrong_value", field=name, value=repr(row["input"]), expected=known[name].expected)
    return Problem("not_a_table", field=name)


def unknown_key(name: str) -> Problem:
    """The Problem for a name that no setting has, with the nearest that one has."""
    names = [field.name for field in fields()]
    short = {n.partition(".")[2]: n for n in names}
    near = get_close_matches(name, names, 1, 0.7) or [
        short[n] for n in get_close_matches(name.rpartition(".")[2], short, 1, 0.7)
    ]
    if near:
        return Problem("unknown_key_near", field=name, near=near[0])
    return Problem("unknown_key", field=name)
