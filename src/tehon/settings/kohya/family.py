"""Whether options are for SDXL, where no script's name says it: lists of its blocks have other counts.

>>> is_sdxl({"network_args.mid_lr_weight": Given("1,1,0.5", "mid_lr_weight", "1,1,0.5")})
True
"""

from collections.abc import Mapping
from typing import Any

from tehon.catalog.detect import DEMO, find_networks
from tehon.catalog.families import SD_BLOCKS, SDXL_BLOCKS, Blocks
from tehon.catalog.model import expanded
from tehon.messages.problem import Problem
from tehon.settings.kohya.block_rows import list_numbers
from tehon.settings.kohya.rows import ARGUMENT, Given


def is_sdxl(given: Mapping[str, Given], path: Any = "") -> bool:
    """By the model where it is on this machine, which the options or else `path` name, then by the counts of numbers
    for blocks. A list of one number for the middle block may be a short one of SDXL's, so it is asked last."""
    model = given["pretrained_model_name_or_path"].value if "pretrained_model_name_or_path" in given else path
    blocks = _blocks(model) if isinstance(model, str) else None
    if blocks is not None:
        return blocks == SDXL_BLOCKS
    for way in ("down", "up", "mid"):
        one = given.get(f"{ARGUMENT}{way}_lr_weight")
        count = len(list_numbers(str(one.value))) if one else 0
        if count in (wanted := getattr(SDXL_BLOCKS, way), getattr(SD_BLOCKS, way)):
            return count == wanted
    return False


def _blocks(path: str) -> Blocks | None:
    """The blocks of a model that is on this machine; nothing is fetched to find out."""
    try:
        there = path == DEMO or expanded(path).exists()
        return find_networks(path).family.blocks if path and there else None
    except (Problem, OSError, ValueError, RuntimeError):
        return None
