"""What the layer names of a LoRA file say: which network and layer each is for, which family and which block.

kohya's names are paths with underscores for dots. Words of a path may hold underscores themselves, so that the way back
needs to know those words.

>>> layer_place("lora_unet_mid_block_attentions_0_proj_in")
LayerPlace(root='lora_unet', path='mid_block.attentions.0.proj_in', original=False)
>>> layer_place("lora_unet_input_blocks_4_1_proj_in")
LayerPlace(root='lora_unet', path='down_blocks.1.attentions.0.proj_in', original=True)
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tehon.catalog.families import FAMILIES, Family
from tehon.catalog.layers import Shapes
from tehon.catalog.names import unet_name
from tehon.messages.problem import Problem

_WORDS = (
    *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "time_emb_proj", "conv_shortcut", "conv_in"),
    *("conv_out", "time_embedding", "add_embedding", "linear_1", "linear_2", "proj_in", "proj_out", "to_q", "to_k"),
    *("to_v", "to_out", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "input_blocks"),
    *("middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers", "skip_connection", "time_embed"),
    "label_emb",
)
_SPLIT = re.compile("|".join([*sorted(_WORDS, key=len, reverse=True), r"[a-z0-9]+"]))
_ROOTS = sorted({root for family in FAMILIES.values() for root in family.adapter_roots}, key=len, reverse=True)
_ORIGINAL = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")


class LayerPlace(NamedTuple):
    """The prefix of a layer's name, its path as diffusers and transformers have it, and whether the file has it under
    its original name."""

    root: str
    path: str
    original: bool


def layer_place(layer: str) -> LayerPlace | None:
    """Where a layer of a LoRA file lies; None for a name that no Stable Diffusion's layer has."""
    root = next((root for root in _ROOTS if layer.startswith(f"{root}_")), "")
    rest = layer.removeprefix(f"{root}_")
    words = _SPLIT.findall(rest)
    if not root or "_".join(words) != rest:
        return None
    path = ".".join(words)
    if not path.startswith(_ORIGINAL):
        return LayerPlace(root, path, False)
    if path.startswith(("input_blocks.", "output_blocks.")) and not re.match(r"\w+\.\d+\.\d+\b", path):
        return None
    try:
        return LayerPlace(root, unet_name(f"{path}.weight").removesuffix(".weight"), True)
    except KeyError:
        return None


_OTHERS = {
    "peft": re.compile(r"base_model\.model\..*lora_[AB]\..*"),
    "diffusers": re.compile(r"(unet|text_encoder(_2)?)\..*lora(_A|_B|(_linear_layer)?\.(down|up))\..*"),
}


def other_naming(tensors: Iterable[str]) -> str:
    """ "diffusers" or "peft" where a tensor of a file is named as these name those of a LoRA; else ""."""
    return next((who for name in tensors for who, names in _OTHERS.items() if names.fullmatch(name)), "")


def not_a_lora(path: Path, tensors: Collection[str]) -> Problem:
    """What is wrong with a file without a layer under kohya's names, and which command gives it those."""
    naming = other_naming(tensors)
    if naming == "peft":  # a folder for each network, and in each such a file
        return Problem("lora_of_peft", path=path, folder=path.absolute().parent.parent)
    return Problem("lora_of_diffusers", path=path) if naming else Problem("not_a_lora", path=path)


def check_matched(path: Path, layers: Collection[str], strange: Sequence[str]) -> None:
    """A Problem when a file has layers that the model has no place for."""
    if strange:
        matched = len(layers) - len(strange)
        raise Problem("lora_unmatched", path=path, matched=matched, total=len(layers), name=strange[0])


def family_of_lora(layers: Mapping[str, Shapes], metadata: Mapping[str, str]) -> Family | None:
    """The family whose layers a LoRA file names; None where no layer is known.

    SDXL has encoders and U-Net paths of its own. 1.x and 2.x have the same names, so that there the metadata decide, or
    else the width of the text that the encoder writes and the U-Net's attention reads.
    """
    places = [place for layer in layers if (place := layer_place(layer))]
    if not places:
        return None
    roots, original = {place.root for place in places}, any(place.original for place in places)
    fitting = [
        family
        for family in FAMILIES.values()
        if roots <= family.adapter_roots.keys() and (not original or family.attending_up is not None)
    ]
    said = metadata.get("ss_base_model_version", "")
    for family in fitting:
        if said and said in {label.base_version for label in family.labels.values()}:
            return family
    wide = _text_width(layers)
    return next((family for family in fitting if TEXT_WIDTHS[family.name] == wide), fitting[0] if fitting else None)


TEXT_WIDTHS = {"sd1": 768, "sd2": 1024, "sdxl": 2048}
"""How many numbers describe a token to the U-Net, by family."""


def _text_width(layers: Mapping[str, Shapes]) -> int:
    for layer, tensors in layers.items():
        attends = layer.endswith(("attn2_to_k", "attn2_to_v"))
        encodes = layer.startswith("lora_te_") and layer.endswith(("q_proj", "k_proj", "v_proj", "fc1"))
        if (attends or encodes) and len(tensors.get("lora_down.weight", ())) > 1:
            return tensors["lora_down.weight"][1]
    return 0


def block_names(layers: Iterable[str], family: Family) -> dict[str, str]:
    """{layer: its block}: IN00 to OUT11 as kohya counts, a text encoder's prefix, or `other` for the layers outside."""
    found: dict[str, str] = {}
    for layer in layers:
        index = block_index(layer, family)
        place = layer_place(layer)
        root = place.root if place and place.root in family.text_rate_roots else "other"
        found[layer] = root if index is None else family.blocks.name(index)
    return found


def block_index(layer: str, family: Family) -> int | None:
    """The block of a layer of the U-Net, counted from 0; None for text encoders and for what no block holds."""
    place = layer_place(layer)
    if place is None or place.root in family.text_rate_roots:
        return None
    try:
        return family.blocks.index(place.path)
    except ValueError:
        return None
