"""From settings back to foreign options: each row says what stands for its settings there."""

from collections.abc import Mapping
from typing import Any

from tehon.settings.kohya.rows import ARGUMENT, GUI, Row
from tehon.settings.kohya.table import ROWS


def options_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Options and network arguments that mean what these settings say; those that say nothing are left out."""
    found: dict[str, Any] = {}
    for option, row in ROWS.items():
        if option.startswith(GUI) or not (row.is_script or option.startswith(ARGUMENT)):
            continue
        value = value_of(row, own)
        if value is not None and value != "" and value != []:
            found[option] = value
    return found


def value_of(row: Row, own: Mapping[str, Any]) -> Any:
    """The option's value; None when it is left out."""
    if row.back is not None:
        return row.back(own)
    return own[row.target] if row.target else None
