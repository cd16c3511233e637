"""sd-scripts' `--config_file`: flat keys, or tables whose names mean nothing.

>>> list(read_config({"folders": {"train_data_dir": "pictures"}, "seed": 7}).given)
['train_data_dir', 'seed']
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from tehon.settings.kohya.lines import Line, Remark, carried, refused
from tehon.settings.kohya.table import ROWS, SCRIPT_OPTIONS
from tehon.settings.kohya.words import Read, add, add_arguments


def read_config(tree: Mapping[str, Any]) -> Read:
    """Options by their names; a key that sd-scripts doesn't have is a line that says so."""
    found = Read()
    for key, value in _flat(tree):
        if key == "network_args":
            add_arguments(found, value if isinstance(value, list) else str(value).split())
        elif key in ROWS and ROWS[key].is_script:
            add(found, key, key, value)
        elif key in ("config_file", "epoch"):
            found.lines.append(Line(key, value, carried({}, Remark("read_by_nothing"))))
        else:
            near = get_close_matches(key, SCRIPT_OPTIONS, 1, 0.7)
            remark = Remark("unknown_near", {"near": near[0]}) if near else Remark("unknown_option")
            found.lines.append(Line(key, value, refused(remark)))
    return found


def _flat(tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keys and values without the tables around them."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += value.items() if isinstance(value, dict) else [(key, value)]
    return found
