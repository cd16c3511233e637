"""sd-scripts' `--config_file`: flat keys, or tables whose names mean nothing.

>>> list(read_config({"folders": {"train_data_dir": "pictures"}, "seed": 7}).given)
['train_data_dir', 'seed']
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from tehon.settings.kohya.lines import Line, Remark, carried, refused
from tehon.settings.kohya.rows import ARGUMENT, Given
from tehon.settings.kohya.table import ROWS, SCRIPT_OPTIONS
from tehon.settings.kohya.words import Read, add, add_arguments

_UNREAD = ("config_file", "epoch", "noise_offset_type")
"""What sd-scripts and kohya_ss write into such a file, and nothing reads."""
_ARGUMENTS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
"""Arguments of the network that kohya_ss writes as keys of their own."""


def read_config(tree: Mapping[str, Any]) -> Read:
    """Options by their names; a key that sd-scripts doesn't have is a line that says so."""
    found = Read()
    for key, value in sorted(_flat(tree), key=lambda one: one[0] in _ARGUMENTS):
        if key == "network_args":
            add_arguments(found, value if isinstance(value, list) else str(value).split())
        elif key in ROWS and ROWS[key].is_script:
            add(found, key, key, value)
        elif key in _UNREAD or (key in _ARGUMENTS and f"{ARGUMENT}{key}" in found.given):
            found.lines.append(Line(key, value, carried({}, Remark("read_by_nothing"))))
        elif key in _ARGUMENTS:
            found.given[f"{ARGUMENT}{key}"] = Given(value, key, value, (), (Remark("no_argument"),))
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
