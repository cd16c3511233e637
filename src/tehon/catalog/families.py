"""The families of models, one row each: what is true of every member and never changes.

>>> FAMILIES["sd1"].stride
8
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tehon.catalog.layers import LayerRow, text_layers, unet_layers

Layers = Callable[[dict[str, Any]], Iterator[LayerRow]]


@dataclass(frozen=True)
class Blocks:
    """The blocks of a U-Net as kohya counts them: `down`, `mid` and `up` are how many there are on each way.

    `rules` are (pattern of a layer's path, index of the first block): a path that matches lies in block
    first + 3 x group 1 + group 2.
    """

    down: int
    mid: int
    up: int
    rules: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        return self.down + self.mid + self.up

    def index(self, path: str) -> int:
        """The block of a layer of the U-Net, counted from 0."""
        for pattern, first in self.rules:
            found = re.match(pattern, path)
            if found:
                place, inner, *_ = [*map(int, found.groups()), 0, 0]
                return first + 3 * place + inner
        raise ValueError(f"no rule of the block table fits {path}")

    def name(self, index: int) -> str:
        """The block as A1111 and kohya call it: IN00 to IN11, MID, OUT00 to OUT11."""
        if index < self.down:
            return f"IN{index:02d}"
        if index < self.down + self.mid:
            return "MID" if self.mid == 1 else f"MID{index - self.down}"
        return f"OUT{index - self.down - self.mid:02d}"


# sd-scripts' networks/lora.py, get_block_index: three blocks to a resolution, the third of which changes the size.
# IN00, # the first convolution, holds no target.
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


@dataclass(frozen=True)
class Family:
    """Facts of one family.

    `adapter_roots` maps the prefix of kohya's key names to the part whose layers carry it, `adapter_layers` to the
    function that lists those layers from the part's configuration. `text_rate_roots` are the prefixes that train with
    the text encoder's learning rate; the layers of all others lie in the `blocks`.
    """

    name: str
    native_side: int
    latent_channels: int
    stride: int
    token_limit: int
    adapter_roots: dict[str, str]
    adapter_layers: dict[str, Layers]
    blocks: Blocks
    text_rate_roots: tuple[str, ...]
    base_version: str
    architecture: str


FAMILIES = {
    "sd1": Family(
        name="sd1",
        native_side=512,
        latent_channels=4,
        stride=8,
        token_limit=75,
        adapter_roots={"lora_te": "text_encoder", "lora_unet": "unet"},
        adapter_layers={"lora_te": text_layers, "lora_unet": unet_layers},
        blocks=SD_BLOCKS,
        text_rate_roots=("lora_te",),
        base_version="sd_v1",
        architecture="stable-diffusion-v1/lora",
    ),
}
