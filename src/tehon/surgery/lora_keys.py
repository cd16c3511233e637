"""The names that programs give to a LoRA's tensors, and what each of them names.

kohya        lora_unet_mid_block_attentions_0_proj_in.lora_down.weight
diffusers    unet.mid_block.attentions.0.proj_in.lora_A.weight, and older ones with `lora.down` or `processor.to_q_lora`
peft         unet/adapter_model.safetensors: base_model.model.mid_block.attentions.0.proj_in.lora_A.weight

>>> read_key("unet.mid_block.attentions.0.proj_in.lora_A.weight", FAMILIES["sd1"])
Key(part='unet', path='mid_block.attentions.0.proj_in', tensor='lora_down.weight')
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from tehon.catalog.families import FAMILIES, Family
from tehon.catalog.lora_names import TEXT_WIDTHS, layer_place

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
_SIDES = {"lora_A": DOWN, "lora_B": UP, "down": DOWN, "up": UP, "lora.down": DOWN, "lora.up": UP}
_PEFT = {DOWN: "lora_A.weight", UP: "lora_B.weight"}
_DIFFUSERS = re.compile(
    r"(?P<part>unet|text_encoder(?:_2)?)\.(?P<path>.+?)"
    r"(?:\.lora_linear_layer|_lora)?\.(?P<side>lora_A|lora_B|lora\.down|lora\.up|down|up)(?:\.default(?:_\d+)?)?\.weight"
)
PEFT_START = "base_model.model."


class Key(NamedTuple):
    """The network, the dotted path of the layer in it, and the tensor under kohya's name for it."""

    part: str
    path: str
    tensor: str


def read_key(name: str, family: Family) -> Key | None:
    """What a tensor's name in kohya's or diffusers' format means; None for a name of neither."""
    layer, _, tensor = name.partition(".")
    place = layer_place(layer)
    if place is not None and place.root in family.adapter_roots:
        return Key(family.adapter_roots[place.root], place.path, tensor)
    found = _DIFFUSERS.fullmatch(name)
    if found is None or found["part"] not in family.adapter_roots.values():
        return None
    path = found["path"].replace(".processor.", ".")
    if path.endswith(("attn1.to_out", "attn2.to_out")):  # older files leave its place in the list out
        path += ".0"
    if found["part"] in family.text_encoders and not path.startswith("text_model."):  # as transformers 5 names them
        path = f"text_model.{path}"
    return Key(found["part"], path, _SIDES[found["side"]])


def kohya_name(key: Key, family: Family) -> str:
    """A KeyError when kohya's format has no such layer."""
    root = next(root for root, part in family.adapter_roots.items() if part == key.part)
    return f"{family.layer_name(root, key.path)}.{key.tensor}"


def diffusers_name(key: Key) -> str:
    return f"{key.part}.{key.path}.{_PEFT[key.tensor]}"


def peft_name(key: Key) -> str:
    return f"{PEFT_START}{key.path}.{_PEFT[key.tensor]}"


def family_by_parts(names: Iterable[str], text_width: int) -> Family:
    """The family of a file in diffusers' format: SDXL has two encoders, or reads text of its width."""
    two = any(name.startswith("text_encoder_2.") for name in names)
    wide = next((name for name, width in TEXT_WIDTHS.items() if width == text_width), "sd1")
    return FAMILIES["sdxl" if two else wide]
