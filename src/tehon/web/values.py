"""From what is typed into a control to a setting's value, and back. Never raises: what does not fit goes to the
settings model as it was typed, and comes back from there as a sentence."""

import re
import sys
from typing import Any

import tomli_w

from tehon.settings.fields import SettingField
from tehon.web.placing import FILES, FOLDERS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_QUOTED = re.compile(r'\s*"(.*)"\s*')  # a path as Windows copies it


def as_text(value: Any) -> str:
    """A value as it is typed: lists with commas, tables as TOML."""
    if value is None:
        return ""
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return tomli_w.dumps({"sets": value})
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def from_text(field: SettingField, text: str) -> Any:
    """The value that a text stands for in this setting; None when it is left empty."""
    kinds = field.kinds
    if field.is_text:
        quoted = _QUOTED.fullmatch(text) if field.name in FOLDERS or field.name in FILES else None
        return quoted[1] if quoted else text
    text = text.strip()
    if not text:
        return [] if list in kinds and not field.is_optional else "" if str in kinds else None
    if dict in field.inner_kinds:
        return _tables(text)
    if list in kinds and ("," in text or "\n" in text or not kinds & {int, float, str}):
        return [_item(part.strip(), field.inner_kinds) for part in text.replace("\n", ",").split(",") if part.strip()]
    return _item(text, kinds)


def _item(text: str, kinds: set[type]) -> Any:
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _tables(text: str) -> Any:
    try:
        return tomllib.loads(text).get("sets", text)
    except tomllib.TOMLDecodeError:
        return text
