"""Every field with its dotted name, type, default and help: what all surfaces are made from.

>>> [field.name for field in fields()][:2]
['model.path', 'data.folder']
"""

import ast
import inspect
import sys
import types
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tehon.messages.catalogue import language, say, sentences
from tehon.settings.settings import Settings


@dataclass(frozen=True)
class SettingField:
    """One setting. `name` is `section.field`."""

    name: str
    info: FieldInfo
    section: type

    @property
    def required(self) -> bool:
        return self.info.is_required()

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=True)

    @property
    def help(self) -> str:
        """The help text in the language to speak; English stands under the field itself."""
        return sentences(language()).get(f"help.{self.name}") or _texts_of(self.section)[self.name.partition(".")[2]]

    @property
    def label(self) -> str:
        """What people call it, in the language to speak."""
        return say(f"label.{self.name}")

    @property
    def choices(self) -> list[Any]:
        """All values that it can have, with None where it may be left open; [] where they are not a few words."""
        literals = [option for option in _options(self.info.annotation) if get_origin(option) is Literal]
        found = [value for option in literals for value in get_args(option)]
        return [None, *found] if found and self.is_optional else found

    @property
    def is_optional(self) -> bool:
        """Whether it can be left empty, to be filled when the run is planned."""
        return type(None) in get_args(self.info.annotation)

    @property
    def kinds(self) -> set[type]:
        """The types that a value may have: int, float, str, list."""
        return {_type(option) for option in _options(self.info.annotation)}

    @property
    def inner_kinds(self) -> set[type]:
        """The types inside of a list: {} for other settings."""
        lists = [option for option in _options(self.info.annotation) if get_origin(option) is list]
        return {_type(get_args(option)[0]) for option in lists}

    @property
    def is_text(self) -> bool:
        return self.info.annotation is str

    @property
    def is_texts(self) -> bool:
        """Whether a value is one text or a list of them."""
        return self.info.annotation == str | list[str]

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        kinds = [_kind(option) for option in _options(self.info.annotation)]
        if any(getattr(rule, "pattern", None) for rule in self.info.metadata):
            kinds = [say("kind.file_name")]
        return ", ".join(filter(None, [say("kind.or").join(kinds), self.limits]))

    @property
    def limits(self) -> str:
        """The smallest and largest values, in words."""
        bounds = [*self.info.metadata, *_inner_bounds(self.info.annotation)]
        limits = [say(f"limit.{n}", value=v) for rule in bounds for n, v in _limits(rule)]
        return ", ".join(dict.fromkeys(limits))


@cache
def fields() -> tuple[SettingField, ...]:
    """All settings in their order."""
    return tuple(
        SettingField(f"{section}.{name}", info, _class_of(outer))
        for section, outer in Settings.model_fields.items()
        for name, info in _section_fields(outer)
    )


def _class_of(outer: FieldInfo) -> Any:
    return outer.annotation


def _section_fields(outer: FieldInfo) -> list[tuple[str, FieldInfo]]:
    return list(_class_of(outer).model_fields.items())


@cache
def _texts_of(section: type) -> dict[str, str]:
    """{field: the text under it}. pydantic can read these too, but for all sections and at every start."""
    source = ast.parse(inspect.getsource(sys.modules[section.__module__]))
    own = next(node for node in source.body if isinstance(node, ast.ClassDef) and node.name == section.__name__)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(own.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _options(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for option in get_args(annotation) if option is not type(None)]
    return [annotation]


def _type(annotation: Any) -> type:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) or annotation


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return say("kind.one_of", values=", ".join(map(str, get_args(annotation))))
    if get_origin(annotation) is list and get_args(annotation)[0] in (int, float, str):
        return say(f"kind.{get_args(annotation)[0].__name__}_list")
    if get_origin(annotation) is list:
        of_tables = get_origin(get_args(annotation)[0]) is dict
        return say("kind.tables") if of_tables else say("kind.list")
    return say(f"kind.{annotation.__name__}")


def _inner_bounds(annotation: Any) -> list[Any]:
    """The limits that stand inside an optional or combined type."""
    found: list[Any] = []
    for option in _options(annotation):
        if get_origin(option) is Annotated:
            found += [bound for info in get_args(option)[1:] for bound in getattr(info, "metadata", [])]
    return found


def _limits(rule: Any) -> list[tuple[str, Any]]:
    names = ("ge", "gt", "le", "lt", "multiple_of")
    return [(name, getattr(rule, name)) for name in names if getattr(rule, name, None) is not None]
