"""Settings as options of the command line: `--section.field value` or `--section.field=value`.

A value is written as in TOML; text needs no quotes, and a switch needs no value to be on.
"""

import sys
from typing import Any

from tehon.messages.problem import Problem
from tehon.settings.fields import fields

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_options(words: list[str]) -> dict[str, Any]:
    """{dotted name: value}. Names are not checked here: the model knows its own."""
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or "." not in word:
            raise Problem("unknown_option", option=word)
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        found[name] = _value(name, value)
    return found


def _value(name: str, text: str) -> Any:
    if any(field.name == name and field.is_text for field in fields()):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
