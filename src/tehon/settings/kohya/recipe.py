"""Settings out of a LoRA of tehon's own: what its recipe says goes before what kohya's keys say of the same.

>>> take_recipe(metadata, found)
>>> found.lines[-1].outcome.settings
{'text.weighted_captions': True}
"""

import json
from collections.abc import Mapping
from typing import Any

from tehon.settings.fields import fields
from tehon.settings.kohya.lines import Line, Remark, carried, dropped
from tehon.settings.kohya.table import ROWS
from tehon.settings.kohya.words import Read
from tehon.settings.recipe import RECIPE, in_recipe


def take_recipe(metadata: Mapping[str, str], found: Read) -> None:
    """Adds a line for each setting of a recipe that is not as without being written, and takes out the options that
    stand for nothing else than what it tells of."""
    found.lines[:] = [line for line in found.lines if line.key != RECIPE]
    rows = _rows(metadata[RECIPE])
    if rows is None:
        found.lines.append(Line(RECIPE, "…", dropped(Remark("unreadable", {"value": "…"}))))
        return
    defaults = {field.name: field.info.get_default() for field in fields() if in_recipe(field.name)}
    told = rows.keys() & defaults.keys()
    for option in [name for name in found.given if ROWS[name].targets and told.issuperset(ROWS[name].targets)]:
        del found.given[option]
    for name, value in rows.items():
        if name not in defaults:
            found.lines.append(Line(name, value, dropped(Remark("newer_setting"))))
        elif value is not None and value != defaults[name]:
            found.lines.append(Line(name, value, carried({name: value})))


def _rows(text: str) -> dict[str, Any] | None:
    try:
        rows = json.loads(text)
        json.dumps(rows, ensure_ascii=False).encode()  # half a pair of surrogates is no letter that we could write
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, dict) else None
