"""Settings from TOML and options, and back to TOML. Every mistake becomes one sentence that names its field.

>>> settings = load_settings(Path("mofu.toml"), {"network.rank": 16})
"""

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import tomli_w
from pydantic import ValidationError

from tehon.messages.problem import Problem, raise_all
from tehon.settings.complaints import complaints
from tehon.settings.fields import fields
from tehon.settings.rules import broken_rules, remarks
from tehon.settings.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tree = dict[str, Any]


def load_settings(
    file: str | os.PathLike[str] | None = None, options: Mapping[str, Any] = MappingProxyType({})
) -> Settings:
    """Settings from a TOML file, if there is one, with {dotted name: value} on top."""
    return validate(on_top({} if file is None else read_toml(Path(file)), options))


def on_top(tree: Tree, options: Mapping[str, Any]) -> Tree:
    """The tree with {dotted name: value} in it; paths may be given as such."""
    for name, value in options.items():
        section, _, field = name.partition(".")
        inner = tree.setdefault(section, {})
        if isinstance(inner, dict):
            inner[field] = _spelt(value)
    return tree


def _spelt(value: Any) -> Any:
    """A value as TOML could have it, which knows no paths."""
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    if isinstance(value, list):
        return [_spelt(one) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _spelt(one) for name, one in cast("dict[str, Any]", value).items()}
    return value


def reopen_settings(file: Path, options: Mapping[str, Any], filled: Iterable[str]) -> Settings:
    """A run's stored settings with {dotted name: value} on top. Those which were `filled` because they were left open
    are open again when there are options, as they may follow from these; the seed and the number of processes stay."""
    tree = read_toml(file)
    if options:
        leave_open(tree, set(filled) - {"training.seed", "training.num_processes", *options})
    return validate(on_top(tree, options))


def leave_open(tree: Tree, names: Iterable[str]) -> None:
    """Takes the settings with these dotted names out of the tree."""
    for name in names:
        section, _, field = name.partition(".")
        tree.get(section, {}).pop(field, None)


def read_toml(file: Path) -> Tree:
    """The tables of a TOML file; a Problem when it cannot be read."""
    try:
        text = file.read_text("utf-8-sig")  # PowerShell and Windows' editor begin a file with the mark
        if file.suffix.lower() == ".json" and text.lstrip()[:1] in ("{", "["):
            raise Problem("no_settings_file", path=file)
        return parse_toml(text, file)
    except (FileNotFoundError, UnicodeEncodeError):  # half a character is in no file's name
        raise Problem("file_missing", path=file) from None
    except IsADirectoryError:
        raise Problem("file_is_folder", path=file) from None
    except UnicodeDecodeError:
        if file.suffix.lower() == ".toml":
            raise Problem("settings_not_utf8", path=file) from None
        raise Problem("no_settings_file", path=file) from None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None


def parse_toml(text: str, name: Path | str = "TOML") -> Tree:
    """The tables of a TOML text; a Problem, which calls it by `name`, when it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # among these a number of thousands of digits
        raise not_toml(name, error) from None


def not_toml(name: Path | str, error: Exception) -> Problem:
    """What tomllib complains about, with the remedy for a Windows path where it stumbled over a backslash."""
    if "\\" in str(error) or "hex value" in str(error):
        return Problem("toml_backslash", path=name, reason=error)
    return Problem("not_toml", path=name, reason=error)


def validate(tree: Tree) -> Settings:
    """Checked settings; Problems for all that is wrong, at once."""
    tree = _with_words(tree)
    nowhere = [] if _names_pictures(tree) else [_folder_missing()]
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        wrong = complaints(error)
        rest = _without_wrong(tree, error)
        beside = [] if rest is None else _apart_from(wrong, broken_rules(rest))
        raise_all([*wrong, *nowhere, *beside], [] if rest is None else remarks(rest))
        raise
    raise_all([*nowhere, *broken_rules(settings)], remarks(settings))
    return settings


def _with_words(tree: Tree) -> Tree:
    """The tree with what its additional parameters say put on top; they stay in it, so that a plan can tell of them."""
    if not all(isinstance(table, dict) for table in tree.values()):  # which is complained about elsewhere
        return tree
    words = tree.get("training", {}).get("additional_parameters")
    if not isinstance(words, str) or not words.strip():
        return tree
    from tehon.settings.kohya.read import merge_words

    result = merge_words(words, tree)
    field = "training.additional_parameters"
    raise_all(
        [
            Problem("words_refused", field=field, name=line.key, reason=line.reason)
            if line.remedied
            else Problem("words_blocked", field=field, name=line.key, reason=line.reason)
            for line in result.blocking
        ]
    )
    result.tree.setdefault("training", {})["additional_parameters"] = words
    return result.tree


def _without_wrong(tree: Tree, error: ValidationError) -> Settings | None:
    """The settings with defaults in place of what pydantic complains about, so that the rules between the others can be
    looked at too; None when more is wrong than that."""
    rest = deepcopy(tree)
    for row in error.errors():
        section, name = str(row["loc"][0]), row["loc"][1:2]
        inner = rest.pop(section, None)
        if name and isinstance(inner, dict):
            rest[section] = {key: value for key, value in inner.items() if key not in name}
    for field in fields():
        section, _, name = field.name.partition(".")
        if field.required:
            rest.setdefault(section, {}).setdefault(name, ".")
    try:
        return Settings.model_validate(rest)
    except ValidationError:
        return None


def _apart_from(wrong: list[Problem], found: list[Problem]) -> list[Problem]:
    """Those rules that don't speak of a setting which is wrong by itself: its default may break what its value would
    not."""
    dotted = [str(problem.values["field"]) for problem in wrong]
    names = [*dotted, *(name for field in dotted if "_" in (name := field.rpartition(".")[2]))]
    return [problem for problem in found if not any(name in str(problem) for name in names)]


def _names_pictures(tree: Tree) -> bool:
    """Whether the tree says where pictures are; what is no table is complained about elsewhere."""
    data = tree.get("data", {})
    if not isinstance(data, dict) or data.get("folder") or data.get("dataset_config"):
        return True
    sets = data.get("sets")
    tables = [one for one in sets if isinstance(one, dict)] if isinstance(sets, list) else []
    return bool(tables) and all(one.get("folder") for one in tables)


def _folder_missing() -> Problem:
    help = next(field.help for field in fields() if field.name == "data.folder")
    return Problem("key_missing", field="data.folder", help=help)


def to_toml(settings: Settings, left_open: Collection[str] = ()) -> str:
    """TOML that gives the same settings when read; empty settings are left out, as TOML has no empty value, and so are
    those that are named in `left_open`."""
    tree = settings.model_dump(exclude_none=True)
    leave_open(tree, left_open)
    return tomli_w.dumps(tree)
