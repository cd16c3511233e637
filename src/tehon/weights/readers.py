"""Which layers and tensors of a LoRA file other programs understand, as data: the last check of every file we write.

A layer counts as matched when its name fits one of the program's patterns and its tensors are all of one kind that the
program knows. Sources, as read in November 2026:

- A1111: stable-diffusion-webui 1.10, extensions-builtin/Lora: `networks.py` (names), `network_lora.py`,
  `network_hada.py`, `network_lokr.py`, `network_ia3.py` (tensors), `network.py` (DoRA: lengths of inputs alone).
- ComfyUI 0.3.77: `comfy/lora.py` and `utils.unet_to_diffusers` (names), `comfy/weight_adapter/*.py` (tensors).
  Forge's `backend/patcher/lora.py` is the same code.
- diffusers 0.42: `loaders/lora_conversion_utils.py`, which knows LoRA alone; `lora_pipeline.py` drops DoRA's lengths.

>>> [f"{row.matched} of {row.total} in {row.reader}" for row in match(header.layers())]
['264 of 264 in A1111', '264 of 264 in ComfyUI and Forge', '264 of 264 in diffusers']
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tehon.catalog.kinds import dora_side

_TRANSFORMER = r"(?:proj_in|proj_out|transformer_blocks_\d+_(?:attn[12]_to_(?:q|k|v|out_0)|ff_net_(?:0_proj|2)))"
_RESNET = r"(?:conv1|conv2|time_emb_proj|conv_shortcut)"
_ORIGINAL_RESNET = r"(?:in_layers_2|out_layers_3|emb_layers_1|skip_connection)"
_NAMES = (
    rf"lora_unet_(?:(?:down|up)_blocks_\d+|mid_block)_attentions_\d+_{_TRANSFORMER}",
    rf"lora_unet_(?:(?:down|up)_blocks_\d+|mid_block)_resnets_\d+_{_RESNET}",
    r"lora_unet_down_blocks_\d+_downsamplers_0_conv",
    r"lora_unet_up_blocks_\d+_upsamplers_0_conv",
    r"lora_te[12]?_text_model_encoder_layers_\d+_(?:self_attn_(?:k|v|q|out)_proj|mlp_fc[12])",
    # SDXL's U-Net goes by its original names.
    rf"lora_unet_(?:(?:input|output)_blocks_\d+|middle_block)_1_{_TRANSFORMER}",
    rf"lora_unet_(?:(?:input|output)_blocks_\d+_0|middle_block_[02])_{_ORIGINAL_RESNET}",
    r"lora_unet_input_blocks_\d+_0_op",
    r"lora_unet_output_blocks_\d+_[12]_conv",
)

_LORA = frozenset(("lora_down.weight", "lora_up.weight"))
_LOHA = frozenset(f"hada_w{n}_{side}" for n in (1, 2) for side in "ab")
_W1 = (frozenset(("lokr_w1",)), frozenset(("lokr_w1_a", "lokr_w1_b")))
_W2 = (frozenset(("lokr_w2",)), frozenset(("lokr_w2_a", "lokr_w2_b")))
_LYCORIS = (
    (_LORA, frozenset(("alpha", "lora_mid.weight"))),
    (_LOHA, frozenset(("alpha",))),
    (_LOHA | {"hada_t1", "hada_t2"}, frozenset(("alpha",))),
    *((one | two, frozenset(("alpha", "lokr_t2"))) for one in _W1 for two in _W2),
)


@dataclass(frozen=True)
class Reader:
    """One program. `kinds` are pairs of tensors that must be there and tensors that may be beside them; `dora` are the
    sides whose lengths it applies as they are meant."""

    name: str
    kinds: tuple[tuple[frozenset[str], frozenset[str]], ...]
    dora: frozenset[str]
    names: tuple[str, ...] = _NAMES

    def knows(self, tensors: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether the tensors of a layer are of a kind that the program knows."""
        side = dora_side(tensors)
        own = tensors.keys() - {"dora_scale"}
        fits = any(must <= own <= must | may for must, may in self.kinds)
        return fits and (not side or side in self.dora)

    def may_know(self, tensors: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether each tensor of a layer, looked at alone, belongs to a kind that the program knows."""
        side = dora_side(tensors)
        every = frozenset[str]().union(*(must | may for must, may in self.kinds))
        return tensors.keys() - {"dora_scale"} <= every and (not side or side in self.dora)

    def finds(self, layer: str) -> bool:
        """Whether the program has a layer of that name."""
        return any(re.fullmatch(pattern, layer) for pattern in self.names)


READERS = (
    Reader("A1111", (*_LYCORIS, (frozenset(("weight", "on_input")), frozenset())), frozenset(("input",))),
    Reader("ComfyUI and Forge", _LYCORIS, frozenset(("input", "output"))),
    Reader("diffusers", ((_LORA, frozenset(("alpha",))),), frozenset()),
)


@dataclass(frozen=True)
class Match:
    """How much of a file one program understands. `known` says whether it knows this kind of network, down to its last
    layer; where it does not, that is no mistake of the file."""

    reader: str
    matched: int
    total: int
    known: bool

    @property
    def whole(self) -> bool:
        return self.matched == self.total


def match(layers: Mapping[str, Mapping[str, tuple[int, ...]]]) -> list[Match]:
    """What each program makes of the layers of a file, {layer: {tensor: shape}}."""
    found: list[Match] = []
    for reader in READERS:
        known = all(reader.may_know(tensors) for tensors in layers.values())
        matched = sum(reader.knows(tensors) and reader.finds(name) for name, tensors in layers.items())
        found.append(Match(reader.name, matched, len(layers), known))
    return found
