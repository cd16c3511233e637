"""The settings while somebody is filling in the form: what was set, what is wrong with it, kept in a file.

>>> draft = Draft(Path("form.toml"))
>>> draft.set("network.rank", 0)
>>> draft.checked().by_field
{'network.rank': ['network.rank: ...']}
>>> draft.apply({"network.rank": 16}, "Character")
>>> draft.undo()
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from shutil import copyfile
from typing import Any

import tomli_w

from tehon.disk import fill_whole, make_folder, remove, write_whole
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.settings.settings import Settings

_KEPT = 20  # replacements that can be taken back


@dataclass(frozen=True)
class Checked:
    """What the settings model says: the settings, or what is wrong, by field; the rest under ''."""

    settings: Settings | None
    by_field: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    needed: tuple[str, ...] = ()
    """Settings without a default that are still empty."""
    so_far: Settings | None = None
    """Where nothing is wrong but that: settings with stand-ins for these, to see what is wrong with the pictures."""


@dataclass(frozen=True)
class Replaced:
    """What a preset or a file, `what`, put in place of settings: those that it changed, by their dotted names."""

    what: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Draft:
    """Only what differs from a default is held, as {dotted name: value}; each change is written to the file.

    All windows of the page share one: `watchers` are told the names of the settings that have changed. Two servers
    share the file: what the other has written is taken over before each change. `replaced` can be taken back, the last
    one first. A file that can't be read whole, as by a slip of somebody who changed it by hand, is kept beside before
    it is written over: `kept` says why, and where or, where the disk refuses at the start, what is in the way."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.defaults = {one.name: None if one.required else one.default for one in fields()}
        self.watchers: list[Callable[[Collection[str]], None]] = []
        self.replaced: list[Replaced] = []
        self.kept: tuple[str, Path | Problem] | None = None
        self.values: dict[str, Any] = {}
        self._broken = ""  # what is wrong with the file as it is now
        self._written = _stamp(file)
        if self._written is not None:
            self._read()
            if self._broken:
                self._save_or_say()

    def get(self, name: str) -> Any:
        return self.values.get(name, self.defaults[name])

    def is_changed(self, name: str) -> bool:
        return name in self.values

    def set(self, name: str, value: Any) -> None:
        """Sets a value; the default, or None, takes it back."""
        others = self._take_over()
        self._put({name: value})
        self._save_and_tell([*others, name])

    def replace(self, tree: Mapping[str, Any], what: str = "") -> list[str]:
        """Takes over all settings of a tree of tables, and no others; gives the names in it that no setting has."""
        given = _by_name(tree)
        self.apply(self.defaults | {name: given[name] for name in given.keys() & self.defaults.keys()}, what)
        return sorted(given.keys() - self.defaults.keys())

    def apply(self, values: Mapping[str, Any], what: str = "") -> bool:
        """Sets several values, as a preset does, and remembers what they were; whether one of them was another."""
        others = self._take_over()
        before = {name: self.get(name) for name in values}
        self._put(values)
        changed = [name for name, value in before.items() if self.get(name) != value]
        if changed:
            after = {name: self.get(name) for name in changed}
            own = Replaced(what, {name: before[name] for name in changed}, after)
            self.replaced = [*self.replaced[-_KEPT + 1 :], own]
            self._save_and_tell([*others, *changed])
        elif others:
            self.tell(others)
        return bool(changed)

    def undo(self) -> None:
        """Takes the last replacement back, but for settings that were changed again since."""
        if not self.replaced:
            return
        others = self._take_over()
        last = self.replaced.pop()
        back = {name: value for name, value in last.before.items() if self.get(name) == last.after[name]}
        self._put(back)
        self._save_and_tell([*others, *back])

    def keep(self) -> None:
        """Forgets the way back."""
        self.replaced = []
        self.tell([])

    def catch_up(self) -> None:
        """Takes over what another server of the page has written into the file since, which would else be lost."""
        if others := self._take_over():
            self.tell(others)

    def _take_over(self) -> list[str]:
        """The same, without telling: the names of the settings that the other has changed."""
        there = _stamp(self.file)
        if there is None or there == self._written:
            return []
        before = dict(self.values)
        self._written = there
        self._read()
        return [name for name in self.defaults if before.get(name) != self.values.get(name)]

    def _read(self) -> None:
        """Takes over the file's values. Of one that is no TOML, with which an editor may not be done, none."""
        from tehon.settings.files import read_toml

        try:
            given = _by_name(read_toml(self.file))
        except Problem as problem:
            self._broken = str(problem.values.get("reason", problem))
            return
        strangers = sorted(given.keys() - self.defaults.keys())
        self._broken = say("web.form_strangers", names=", ".join(strangers)) if strangers else ""
        self.values = {}
        self._put(given)

    def _beside(self) -> Path:
        """A place for a file that can't be read whole, which nobody has yet."""
        names = (self.file.with_name(f"{self.file.stem}-kept-{number}{self.file.suffix}") for number in count(1))
        return next(place for place in names if not place.exists())

    def close_kept(self) -> None:
        """Says no more that a file could not be read whole."""
        self.kept = None
        self.tell([])

    def tell(self, names: Collection[str]) -> None:
        for watcher in list(self.watchers):
            watcher(names)

    def _put(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name in self.defaults:
                self.values.pop(name, None)
                if value is not None and value != self.defaults[name]:
                    self.values[name] = value

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
        """A Problem where the file can't be written; what was there is then there still, whether it can be read or not,
        and the form goes on without it."""
        make_folder(self.file.parent)
        beside = self._beside() if self._broken and self.file.is_file() else None
        if beside is not None:
            fill_whole(beside, partial(copyfile, self.file))
        try:
            write_whole(self.file, self.toml().encode())
        except Problem:
            if beside is not None:
                remove(beside)  # the next try would leave another
            raise
        if beside is not None:
            self.kept = self._broken, beside
        elif self.kept is not None and isinstance(self.kept[1], Problem):
            self.kept = None  # what was in the way at the start is gone
        self._broken = ""
        self._written = _stamp(self.file)

    def _save_or_say(self) -> None:
        """At the start, where a Problem would leave no page to say it on."""
        try:
            self.save()
        except Problem as problem:
            self.kept = self._broken, problem

    def _save_and_tell(self, names: Collection[str]) -> None:
        """Neither keeps the other from being done: a full disk stops no window, and a window's fault no saving."""
        try:
            self.save()
        finally:
            if names:
                self.tell(names)

    def checked(self) -> Checked:
        """What the model of all settings says of the values, each mistake under its field."""
        from tehon.settings.files import validate  # with all rules; the form is there without them

        try:
            return Checked(validate(self.tree()))
        except Problem as problem:
            needed = tuple(str(one.values["field"]) for one in problem.all if one.key == "key_missing")
            wrong = by_field(problem)
        return Checked(None, wrong, needed, None if wrong or "data.folder" in needed else self._so_far())

    def _so_far(self) -> Settings | None:
        from tehon.settings.files import validate

        try:
            return validate(self.tree_for_pictures())
        except Problem:
            return None

    def tree_for_pictures(self) -> dict[str, Any]:
        """The values as tables, with stand-ins where a model and an output folder are still to be chosen."""
        tree = self.tree()
        tree.setdefault("model", {}).setdefault("path", "demo")
        tree.setdefault("output", {}).setdefault("folder", "output")
        return tree


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes when the file is written anew; None where there is none."""
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a tree of tables by their dotted names."""
    found: dict[str, Any] = {}
    for section, inner in tree.items():
        table = isinstance(inner, dict)
        found |= {f"{section}.{name}": value for name, value in inner.items()} if table else {section: inner}
    return found


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
