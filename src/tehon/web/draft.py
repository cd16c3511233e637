"""The settings while somebody is filling in the form: what was set, what is wrong with it, kept in a file.

>>> draft = Draft(Path("form.toml"))
>>> draft.set("network.rank", 16)
>>> draft.checked().by_field
{'model.path': ['model.path: ...'], ...}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tehon.disk import write_whole
from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.settings.settings import Settings


@dataclass(frozen=True)
class Checked:
    """What the settings model says: the settings, or what is wrong, by field; the rest under ''."""

    settings: Settings | None
    by_field: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    needed: tuple[str, ...] = ()
    """Settings without a default that are still empty."""


class Draft:
    """Only what differs from a default is held, as {dotted name: value}; each change is written to the file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.defaults = {one.name: None if one.required else one.default for one in fields()}
        self.values: dict[str, Any] = {}
        if file.exists():
            from tehon.settings.files import read_toml

            self.replace(read_toml(file))

    def get(self, name: str) -> Any:
        return self.values.get(name, self.defaults[name])

    def is_changed(self, name: str) -> bool:
        return name in self.values

    def set(self, name: str, value: Any) -> None:
        """Sets a value; the default, or None, takes it back."""
        if value is None or value == self.defaults[name]:
            self.values.pop(name, None)
        else:
            self.values[name] = value
        self.save()

    def replace(self, tree: Mapping[str, Any]) -> list[str]:
        """Takes over all settings of a tree of tables; gives the names in it that no setting has."""
        given = {
            f"{section}.{name}": value
            for section, inner in tree.items()
            for name, value in (inner.items() if isinstance(inner, dict) else ())
        }
        given |= {section: value for section, value in tree.items() if not isinstance(value, dict)}
        self.values = {}
        for name, value in given.items():
            if name in self.defaults and value != self.defaults[name]:
                self.values[name] = value
        self.save()
        return sorted(given.keys() - self.defaults.keys())

    def apply(self, values: Mapping[str, Any]) -> None:
        """Sets several values, as a preset does."""
        for name, value in values.items():
            if value == self.defaults[name]:
                self.values.pop(name, None)
            else:
                self.values[name] = value
        self.save()

    def tree(self) -> dict[str, Any]:
        """The values as tables, as TOML has them."""
        found: dict[str, Any] = {}
        for name in self.defaults:
            if name in self.values:
                section, _, key = name.partition(".")
                found.setdefault(section, {})[key] = self.values[name]
        return found

    def toml(self) -> str:
        return tomli_w.dumps(self.tree())

    def save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, self.toml().encode())

    def checked(self) -> Checked:
        """What the model of all settings says of the values, each mistake under its field."""
        from tehon.settings.files import validate  # with all rules; the form is there without them

        try:
            return Checked(validate(self.tree()))
        except Problem as problem:
            needed = tuple(str(one.values["field"]) for one in problem.all if one.key == "key_missing")
            return Checked(None, by_field(problem), needed)


def by_field(problem: Problem) -> dict[str, list[str]]:
    """The sentences of one problem or several, under the settings that they name. What is still to be filled in is no
    mistake, and is left out: `needed` says it."""
    known = {one.name for one in fields()}
    found: dict[str, list[str]] = {}
    for one in problem.all:
        if one.key == "key_missing":
            continue
        named = str(one.values.get("field", ""))
        found.setdefault(named if named in known else _base_of(named, known), []).append(str(one))
    return found


def _base_of(named: str, known: set[str]) -> str:
    """The setting that a place within it belongs to: `data.sets[1].folder` is in `data.sets`."""
    outer = named.partition("[")[0]
    return outer if outer in known else ""
