"""Foreign values by their kind: typed ones from JSON and TOML, and texts from command lines.

>>> read_value(WHOLE, "64.0"), read_value(SWITCH, "True"), read_value(NUMBERS, ["1e-4", 5e-5])
(64, True, [0.0001, 5e-05])
"""

from math import isfinite
from typing import Any

SWITCH, WHOLE, NUMBER, TEXT, TEXTS, NUMBERS = "switch", "whole", "number", "text", "texts", "numbers"
ANYTHING = "anything"
"""Of a value that nobody here looks at."""

TAKES_MANY = (TEXTS, NUMBERS)
_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LARGEST = 10**15


class UnreadableError(ValueError):
    """A value that is none of its kind."""


def read_value(kind: str, value: Any) -> Any:
    """The value as this kind has it; UnreadableError when it is none. An empty text is None, which is as not given."""
    if value is None or (isinstance(value, str) and not value.strip() and kind != TEXT) or value == "":
        return None
    return _READERS[kind](value)


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if isinstance(value, str | int) and text in _SWITCHES:
        return _SWITCHES[text]
    raise UnreadableError(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnreadableError(value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise UnreadableError(value) from None
    if not isfinite(number):
        raise UnreadableError(value)
    return number


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return value
    number = _number(value)
    if number != int(number) or abs(number) > _LARGEST:
        raise UnreadableError(value)
    return int(number)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value) if isinstance(value, float) else str(value)
    raise UnreadableError(value)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list):
        return [_text(one) for one in value]
    raise UnreadableError(value)


def _numbers(value: Any) -> list[float]:
    rows = value if isinstance(value, list) else str(value).replace(",", " ").split()
    return [_number(one) for one in rows]


def _anything(value: Any) -> Any:
    return value


_READERS = {
    SWITCH: _switch,
    WHOLE: _whole,
    NUMBER: _number,
    TEXT: _text,
    TEXTS: _texts,
    NUMBERS: _numbers,
    ANYTHING: _anything,
}
