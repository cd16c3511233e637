"""From foreign options to settings: each option goes through its row, then what means nothing here is taken out.

>>> carry({"flip_aug": Given(True, "--flip_aug", True)}, [], whole=False).tree
{'data': {'flip_aug': True}}
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.settings.files import validate
from tehon.settings.kohya.back import options_of
from tehon.settings.kohya.effect import REQUIRED, filled, without_effect
from tehon.settings.kohya.family import is_sdxl
from tehon.settings.kohya.lines import Line, Outcome, Remark, carried, refused
from tehon.settings.kohya.meaning import values_of
from tehon.settings.kohya.rows import ARGUMENT, UNSAID, Around, Given, Row
from tehon.settings.kohya.table import ROWS
from tehon.settings.kohya.values import NUMBER, NUMBERS, SWITCH, WHOLE, UnreadableError, read_value
from tehon.settings.settings import Settings

_KINDS = {SWITCH: "kind.bool", WHOLE: "kind.int", NUMBER: "kind.float", NUMBERS: "kind.float_list"}
_FOLLOWING = frozenset((
    "max_train_steps", "max_train_epochs", "network_train_unet_only", "network_train_text_encoder_only",
    f"{ARGUMENT}preset", f"{ARGUMENT}use_tucker",
))  # fmt: skip
"""Options that stand for settings which other options set as well: words for these would lose against them."""
Tree = dict[str, dict[str, Any]]


@dataclass
class Import:
    """Settings as a tree, what became of each key, what tehon still needs, and what it would refuse."""

    tree: Tree
    lines: list[Line]
    missing: list[str] = field(default_factory=list[str])
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def blocking(self) -> list[Line]:
        """The lines without which a training would be another one than was asked for."""
        return [line for line in self.lines if line.outcome.blocks]


def carry(
    given: Mapping[str, Given],
    lines: list[Line],
    whole: bool,
    sdxl: bool | None = None,
    base: Tree | None = None,
) -> Import:
    """Settings from options; `lines` are those of keys that are none, and what they set is taken as it is. `whole`:
    what was not given is sd-scripts' default. `sdxl`: None where it is to be found out. `base`: settings that the
    options are put on top of."""
    if sdxl is None:
        sdxl = is_sdxl(given, (base or {}).get("model", {}).get("path"))
    found = list(lines)
    values: dict[str, Any] = {}
    for option, one in given.items():
        try:
            values[option] = read_value(ROWS[option].kind, one.value)
        except UnreadableError:
            found.append(Line(one.key, one.raw, refused(_unfit(ROWS[option].kind, one.raw))))
    told = {name: value for name, value in values.items() if value is not None}
    around = Around((_meant(base) if base else {}) | told, whole, sdxl, bool(base))
    tree: Tree = {section: dict(table) for section, table in (base or {}).items()}
    origins: dict[str, Line] = {}
    for line in lines:
        _put(line, tree, origins)
    for option, value in values.items():
        one = given[option]
        outcome = carried({}) if value is None else _outcome(ROWS[option], value, around)
        line = Line(one.key, one.raw, _with_remarks(outcome, one))
        found.append(line)
        _put(line, tree, origins)
    if whole:
        refused_options = {line.key.removeprefix("--") for line in found if line.outcome.blocks}
        found += _assumed(around, refused_options, tree, origins)
    result = Import(tree, found)
    _settle(result, origins)
    return result


def _meant(base: Tree) -> dict[str, Any]:
    """The options that these settings stand for; none when they are wrong, which is complained about elsewhere."""
    try:
        own = values_of(Settings.model_validate(filled(base)))
    except ValidationError:
        return {}
    if own["data.sets"]:
        own["data.dataset_config"] = "data.sets"  # which say the same, and their masks too
    return {option: value for option, value in options_of(own).items() if option not in _FOLLOWING}


def _with_remarks(outcome: Outcome, one: Given) -> Outcome:
    fate = "changed" if one.reasons and outcome.fate == "carried" else outcome.fate
    reasons, differences = (*one.reasons, *outcome.reasons), (*outcome.differences, *one.differences)
    return Outcome(fate, outcome.settings, reasons, differences, outcome.blocks)


def _outcome(row: Row, value: Any, around: Around) -> Outcome:
    if row.carry is not None:
        return row.carry(value, around)
    return carried({row.target: value}, *([Remark(row.differs)] if row.differs and value else []))


def _put(line: Line, tree: Tree, origins: dict[str, Line]) -> None:
    """Takes a line's settings over; one that its field does not take makes it a refused line."""
    for name, value in list(line.outcome.settings.items()):
        section, _, field_name = name.partition(".")
        taken, wrong = _fitting(section, field_name, value)
        if wrong:
            line.outcome = refused(*wrong)
            return
        line.outcome.settings[name] = taken
    for name, value in line.outcome.settings.items():
        section, _, field_name = name.partition(".")
        tree.setdefault(section, {})[field_name] = value
        origins[name] = line


def _fitting(section: str, name: str, value: Any) -> tuple[Any, list[Problem]]:
    """The value as its field takes it, or what is wrong with it."""
    model: Any = Settings.model_fields[section].annotation
    if isinstance(value, int) and not isinstance(value, bool) and model.model_fields[name].annotation is float:
        with suppress(OverflowError):  # one that is too large stays, for its field to refuse
            value = float(value)
    others = {other: "demo" for other, info in model.model_fields.items() if info.is_required()}
    try:
        model.model_validate(others | {name: value})
    except ValidationError as error:
        field = f"{section}.{name}"
        expected = next(one.expected for one in fields() if one.name == field)
        shown = _short(error.errors()[0]["input"])
        return value, [Problem("wrong_value", field=field, value=shown, expected=expected)]
    return value, []


def _assumed(around: Around, refused: set[str], tree: Tree, origins: dict[str, Line]) -> list[Line]:
    """A line for each default of sd-scripts that is not ours, but for options that were given and refused."""
    found: list[Line] = []
    for option, row in ROWS.items():
        if option in around.values or option in refused:
            continue
        if row.absent:
            found.append(Line(option, None, Outcome("assumed", {}, (), (Remark(row.absent),))))
        if row.default is UNSAID or row.target in origins:
            continue
        outcome = _outcome(row, row.default, around)
        settings = {name: value for name, value in outcome.settings.items() if name not in origins}
        if settings:
            line = Line(option, row.default, Outcome("assumed", settings, outcome.reasons))
            _put(line, tree, origins)
            found.append(line)
    return found


def _settle(result: Import, origins: dict[str, Line]) -> None:
    """Takes out what was brought along and has no effect, and says what is missing and what would be refused."""
    tree = result.tree
    wanted = [*REQUIRED, *dict.fromkeys(name for line in result.lines for name in line.open if name not in REQUIRED)]
    result.missing = [name for name in wanted if not _has(tree, name)]
    for _ in range(len(origins) + 1):
        problems = _problems(filled(tree))
        idle = {name: problem for problem in problems for name in without_effect(problem) if name in origins}
        idle = {name: problem for name, problem in idle.items() if _has(tree, name)}
        if not idle:
            break
        for name, problem in idle.items():
            section, _, field_name = name.partition(".")
            tree[section].pop(field_name)
            own = origins[name].outcome
            rest = {other: value for other, value in own.settings.items() if other != name}
            fate = own.fate if rest else "dropped"
            origins[name].outcome = Outcome(fate, rest, (*own.reasons, problem), own.differences, own.blocks)
    else:
        problems = _problems(filled(tree))
    result.problems = problems


def _problems(tree: Tree) -> list[Problem]:
    try:
        validate(tree)
    except Problem as problem:
        return problem.all
    return []


def _has(tree: Mapping[str, Any], name: str) -> bool:
    section, _, field_name = name.partition(".")
    if name == "data.folder" and any(tree.get("data", {}).get(other) for other in ("sets", "dataset_config")):
        return True
    return bool(tree.get(section, {}).get(field_name)) if name in REQUIRED else field_name in tree.get(section, {})


def _unfit(kind: str, raw: Any) -> Remark:
    """What is said of a value that is none of its kind."""
    if kind not in _KINDS:
        return Remark("unreadable", {"value": _short(raw)})
    return Remark("not_its_kind", {"value": _short(raw), "expected": say(_KINDS[kind])})


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
