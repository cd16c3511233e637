"""JSON for programs, as every `--json` prints it.

>>> json_text({"rate": float("nan"), "größe": 1})
'{"rate": "NaN", "größe": 1}'
"""

import json
from math import isfinite
from typing import Any


def json_text(data: Any, indent: int | None = None) -> str:
    """The data on one line, or indented. JSON has no numbers that are not finite: they become the texts NaN, Infinity
    and -Infinity. What is none of JSON's kinds, like a path, becomes its text."""
    return json.dumps(_finite(data), ensure_ascii=False, indent=indent, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {_key(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _key(key: Any) -> Any:
    return str(_finite(key)) if isinstance(key, float) else key
