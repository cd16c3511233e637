"""Settings as options of the command line: `--section.field value` or `--section.field=value`.

A value is written as in TOML; text needs no quotes, and a switch needs no value to be on.
"""

import sys
from typing import Any

from tehon.settings.fields import fields

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SWITCH_VALUES = ("true", "false")


def split_options(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """({dotted name: value}, the words that belong to no setting). Names are not checked here: the model knows its own.

    >>> split_options(["run.toml", "--network.rank", "16", "--data.enable_bucket", "--json"])
    ({'network.rank': 16, 'data.enable_bucket': True}, ['run.toml', '--json'])
    """
    found: dict[str, Any] = {}
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word[2:].partition("=")
        if not word.startswith("--") or "." not in name:
            others.append(word)
            continue
        name = name.replace("-", "_")
        if not equals:
            takes_next = bool(rest) and (
                rest[0] in _SWITCH_VALUES or not (_is_switch(name) or rest[0].startswith("--"))
            )
            if not takes_next:
                found[name] = True
                continue
            value = rest.pop(0)
        found[name] = _value(name, value)
    return found, others


def _is_switch(name: str) -> bool:
    return any(field.name == name and field.info.annotation is bool for field in fields())


def _value(name: str, text: str) -> Any:
    if any(field.name == name and (field.is_text or (field.is_texts and text[:1] != "[")) for field in fields()):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # among these a number of thousands of digits
        return text
