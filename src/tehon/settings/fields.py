"""Every field with its dotted name, type, default and help: what all surfaces are made from.

>>> [field.name for field in fields()][:2]
['model.path', 'data.folder']
"""

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tehon.messages.catalogue import language, say, sentences
from tehon.settings.settings import Settings


@dataclass(frozen=True)
class SettingField:
    """One setting. `name` is `section.field`."""

    name: str
    info: FieldInfo

    @property
    def required(self) -> bool:
        return self.info.is_required()

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=True)

    @property
    def help(self) -> str:
        """The help text in the language to speak; English stands under the field itself."""
        return sentences(language()).get(f"help.{self.name}") or str(self.info.description)

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
        bounds = [*self.info.metadata, *_inner_bounds(self.info.annotation)]
        limits = [say(f"limit.{n}", value=v) for rule in bounds for n, v in _limits(rule)]
        return ", ".join([say("kind.or").join(kinds), *dict.fromkeys(limits)])


@cache
def fields() -> tuple[SettingField, ...]:
    """All settings in their order."""
    return tuple(
        SettingField(f"{section}.{name}", info)
        for section, outer in Settings.model_fields.items()
        for name, info in _section_fields(outer)
    )


def _section_fields(outer: FieldInfo) -> list[tuple[str, FieldInfo]]:
    section: Any = outer.annotation
    return list(section.model_fields.items())


def _options(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for option in get_args(annotation) if option is not type(None)]
    return [annotation]


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return say("kind.one_of", values=", ".join(map(str, get_args(annotation))))
    if get_origin(annotation) is list and get_args(annotation)[0] in (int, float):
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
