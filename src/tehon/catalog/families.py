"""The families of models, one row each: what is true of every member and never changes.

>>> FAMILIES["sd1"].stride
8
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tehon.catalog.layers import LayerRow, text_layers, unet_layers
from tehon.catalog.names import original_unet_path

Layers = Callable[[dict[str, Any]], Iterator[LayerRow]]
Prediction = Literal["epsilon", "v"]


@dataclass(frozen=True)
class Blocks:
    """The blocks of a U-Net as kohya counts them: `down`, `mid` and `up` are how many there are on each way, `ends` how
    many there are before and behind these, which hold no target.

    `rules` are (pattern of a layer's path, index of the first block): a path that matches lies in block
    first + 3 x group 1 + group 2.
    """

    down: int
    mid: int
    up: int
    rules: tuple[tuple[str, int], ...]
    ends: int = 0

    @property
    def count(self) -> int:
        return self.ends + self.down + self.mid + self.up + self.ends

    def index(self, path: str) -> int:
        """The block of a layer of the U-Net, counted from 0."""
        for pattern, first in self.rules:
            found = re.match(pattern, path)
            if found:
                place, inner, *_ = [*map(int, found.groups()), 0, 0]
                return first + 3 * place + inner
        raise ValueError(f"no rule of the block table fits {path}")

    def name(self, index: int) -> str:
        """The block as A1111 and kohya call it: IN00 to IN11, MID, OUT00 to OUT11; `FIRST` and `LAST` for the ends."""
        if self.ends and index in (0, self.count - 1):
            return "LAST" if index else "FIRST"
        index -= self.ends
        if index < self.down:
            return f"IN{index:02d}"
        if index < self.down + self.mid:
            return "MID" if self.mid == 1 else f"MID{index - self.down}"
        return f"OUT{index - self.down - self.mid:02d}"


# sd-scripts' networks/lora.py, get_block_index: three blocks to a resolution, the third of which changes the size.
# IN00, the first convolution, holds no target.
SD_BLOCKS = Blocks(
    down=12,
    mid=1,
    up=12,
    rules=(
        (r"down_blocks\.(\d+)\.(?:resnets|attentions)\.(\d+)\.", 1),
        (r"down_blocks\.(\d+)\.downsamplers\.", 3),
        (r"mid_block\.", 12),
        (r"up_blocks\.(\d+)\.(?:resnets|attentions)\.(\d+)\.", 13),
        (r"up_blocks\.(\d+)\.upsamplers\.", 15),
    ),
)


# sd-scripts' get_sdxl_block_index: the time embedding, input_blocks 0 to 8, middle_block 0 to 2, output_blocks 0 to 8,
# and the output; the first and the last hold no target.
SDXL_BLOCKS = Blocks(
    down=9,
    mid=3,
    up=9,
    rules=(
        (r"down_blocks\.(\d+)\.(?:resnets|attentions)\.(\d+)\.", 2),
        (r"down_blocks\.(\d+)\.downsamplers\.", 4),
        (r"mid_block\.resnets\.0\.", 10),
        (r"mid_block\.attentions\.", 11),
        (r"mid_block\.resnets\.1\.", 12),
        (r"up_blocks\.(\d+)\.(?:resnets|attentions)\.(\d+)\.", 13),
        (r"up_blocks\.(\d+)\.upsamplers\.", 15),
    ),
    ends=1,
)


@dataclass(frozen=True)
class FilePart:
    """Where a network stands in a checkpoint of one file: the `prefix` of its tensors, the `layout` of their names, and
    how many of its last layers no picture is drawn with."""

    prefix: str
    layout: Literal["unet", "vae", "clip", "open_clip"]
    spare_layers: int = 0


@dataclass(frozen=True)
class Label:
    """What a LoRA's metadata say about its base, kohya's version and modelspec's architecture; and the side in pixels
    that such models are made for."""

    base_version: str
    architecture: str
    native_side: int


@dataclass(frozen=True)
class Family:
    """Facts of one family.

    `adapter_roots` maps the prefix of kohya's key names to the part whose layers carry it, `adapter_layers` to the
    function that lists those layers from the part's configuration. `text_rate_roots` are the prefixes that train with
    the text encoder's learning rate; the layers of all others lie in the `blocks`. `attending_up` are the resolutions
    on the U-Net's way up with attention where LoRA files have its layers under their original names, else None.

    `file_parts` says where each network stands in a checkpoint of one file, `pads` with which token the captions of
    each text encoder are filled. `head_width` is that of the U-Net's attention heads; None: there are always 8.
    `predicts` is what a file means that doesn't say; None: there are as many of either. `vae_overflows` in half
    precision. `labels` are by what is predicted.
    """

    name: str
    latent_channels: int
    stride: int
    adapter_roots: dict[str, str]
    adapter_layers: dict[str, Layers]
    blocks: Blocks
    text_rate_roots: tuple[str, ...]
    attending_up: frozenset[int] | None
    file_parts: dict[str, FilePart]
    pads: dict[str, str]
    head_width: int | None
    latent_scale: float
    vae_overflows: bool
    predicts: Prediction | None
    labels: dict[Prediction, Label]

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(self.pads)

    @property
    def implementation(self) -> str:
        """modelspec's word for whose names the layers of a LoRA file have."""
        return "diffusers" if self.attending_up is None else "https://github.com/Stability-AI/generative-models"

    @property
    def pooled_from(self) -> str:
        """The text encoder that also gives the text as one vector; "" where nothing is told of it."""
        return self.text_encoders[-1] if len(self.text_encoders) > 1 else ""

    def file_path(self, root: str, path: str) -> str:
        """A layer's dotted path as LoRA files know it, from that of diffusers or transformers."""
        if root in self.text_rate_roots or self.attending_up is None:
            return path
        return original_unet_path(path, self.attending_up)

    def layer_name(self, root: str, path: str) -> str:
        """A layer's name in LoRA files, as kohya builds it: the prefix, and the path with underscores for dots."""
        return f"{root}_{self.file_path(root, path).replace('.', '_')}"


_UNET = FilePart("model.diffusion_model.", "unet")
_VAE = FilePart("first_stage_model.", "vae")

FAMILIES = {
    "sd1": Family(
        name="sd1",
        latent_channels=4,
        stride=8,
        adapter_roots={"lora_te": "text_encoder", "lora_unet": "unet"},
        adapter_layers={"lora_te": text_layers, "lora_unet": unet_layers},
        blocks=SD_BLOCKS,
        text_rate_roots=("lora_te",),
        attending_up=None,
        file_parts={
            "text_encoder": FilePart("cond_stage_model.transformer.", "clip"),
            "unet": _UNET,
            "vae": _VAE,
        },
        pads={"text_encoder": "<|endoftext|>"},
        head_width=None,
        latent_scale=0.18215,
        vae_overflows=False,
        predicts="epsilon",
        labels={
            "epsilon": Label("sd_v1", "stable-diffusion-v1/lora", 512),
            "v": Label("sd_v1_v", "stable-diffusion-v1/lora", 512),
        },
    ),
    "sd2": Family(
        name="sd2",
        latent_channels=4,
        stride=8,
        adapter_roots={"lora_te": "text_encoder", "lora_unet": "unet"},
        adapter_layers={"lora_te": text_layers, "lora_unet": unet_layers},
        blocks=SD_BLOCKS,
        text_rate_roots=("lora_te",),
        attending_up=None,
        file_parts={
            "text_encoder": FilePart("cond_stage_model.model.", "open_clip", spare_layers=1),
            "unet": _UNET,
            "vae": _VAE,
        },
        pads={"text_encoder": "!"},
        head_width=64,
        latent_scale=0.18215,
        vae_overflows=False,
        predicts=None,
        labels={
            "epsilon": Label("sd_v2", "stable-diffusion-v2-512/lora", 512),
            "v": Label("sd_v2_v", "stable-diffusion-v2-768-v/lora", 768),
        },
    ),
    "sdxl": Family(
        name="sdxl",
        latent_channels=4,
        stride=8,
        adapter_roots={"lora_te1": "text_encoder", "lora_te2": "text_encoder_2", "lora_unet": "unet"},
        adapter_layers={"lora_te1": text_layers, "lora_te2": text_layers, "lora_unet": unet_layers},
        blocks=SDXL_BLOCKS,
        text_rate_roots=("lora_te1", "lora_te2"),
        attending_up=frozenset((0, 1)),
        file_parts={
            "text_encoder": FilePart("conditioner.embedders.0.transformer.", "clip"),
            "text_encoder_2": FilePart("conditioner.embedders.1.model.", "open_clip"),
            "unet": _UNET,
            "vae": _VAE,
        },
        pads={"text_encoder": "<|endoftext|>", "text_encoder_2": "!"},
        head_width=64,
        latent_scale=0.13025,
        vae_overflows=True,
        predicts="epsilon",
        labels={
            "epsilon": Label("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", 1024),
            "v": Label("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", 1024),
        },
    ),
}
