"""What the networks keep for the backward pass, block by block, worked out from their configurations.

The numbers follow from what autograd saves for each operation when the network is frozen and LoRAs lie on its layers:
a convolution, a norm and an activation keep their input, a frozen Linear nothing, one with an adapter its input, and
attention its queries, keys, values and output.

>>> blocks = list(unet_blocks(json.loads((folder / "unet" / "config.json").read_text())))
>>> blocks[0]
Block(path='down_blocks.0.resnets.0', kind='resnet', wide=320, out=320, level=0)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tehon.catalog.layers import listed


@dataclass(frozen=True)
class Block:
    """A part of a network that computes one thing, with its channels. `level` counts how often the picture has been
    halved; for text encoders it is 0. A "frame" is what stands around the blocks of a transformer."""

    path: str
    kind: Literal["resnet", "frame", "transformer", "convolution", "text"]
    wide: int
    out: int
    level: int = 0

    @property
    def may_compute_again(self) -> bool:
        """Whether gradient checkpointing can leave out what it keeps."""
        return self.kind in ("resnet", "transformer", "text")


def unet_blocks(config: dict[str, Any]) -> Iterator[Block]:
    """The blocks of a U-Net in the order in which they compute, without those before its first Res block."""
    channels: list[int] = config["block_out_channels"]
    per_block: int = config["layers_per_block"]
    last = len(channels) - 1
    depths = listed(config.get("transformer_layers_per_block", 1), len(channels))

    def stage(path: str, ins: list[int], out: int, level: int, attends: bool, depth: int) -> Iterator[Block]:
        for j, wide in enumerate(ins):
            yield Block(f"{path}.resnets.{j}", "resnet", wide, out, level)
            if attends:
                yield from _transformer(f"{path}.attentions.{j}", out, level, depth)

    for i, (kind, out) in enumerate(zip(config["down_block_types"], channels, strict=True)):
        ins = [channels[max(i - 1, 0)]] + [out] * (per_block - 1)
        yield from stage(f"down_blocks.{i}", ins, out, i, "CrossAttn" in kind, depths[i])
        if i < last:
            yield Block(f"down_blocks.{i}.downsamplers.0", "convolution", out, out, i)
    out = channels[-1]
    yield Block("mid_block.resnets.0", "resnet", out, out, last)
    yield from _transformer("mid_block.attentions.0", out, last, depths[-1])
    yield Block("mid_block.resnets.1", "resnet", out, out, last)
    upwards = channels[::-1]
    for i, (kind, out) in enumerate(zip(config["up_block_types"], upwards, strict=True)):
        skips = [out] * per_block + [upwards[min(i + 1, last)]]
        below = [upwards[max(i - 1, 0)]] + [out] * per_block
        ins = [wide + skip for wide, skip in zip(below, skips, strict=True)]
        yield from stage(f"up_blocks.{i}", ins, out, last - i, "CrossAttn" in kind, depths[::-1][i])
        if i < last:
            yield Block(f"up_blocks.{i}.upsamplers.0", "convolution", out, out, last - i - 1)


def _transformer(path: str, wide: int, level: int, depth: int) -> Iterator[Block]:
    yield Block(path, "frame", wide, wide, level)
    for k in range(depth):
        yield Block(f"{path}.transformer_blocks.{k}", "transformer", wide, wide, level)


def text_blocks(config: dict[str, Any]) -> Iterator[Block]:
    """The layers of a CLIP text encoder."""
    wide, inner = config["hidden_size"], config["intermediate_size"]
    for i in range(config["num_hidden_layers"]):
        yield Block(f"encoder.layers.{i}", "text", wide, inner)


def kept_per_place(block: Block) -> float:
    """How many numbers a block keeps for each pixel of its level, or each token. What depends on the length of the
    text, and the adapters' own narrow tensors, are not among them."""
    wide, out = block.wide, block.out
    if block.kind == "resnet":  # two times norm, activation and convolution keep what they are given
        return 3 * wide + 3 * out
    if block.kind == "frame":  # norm, proj_in, proj_out
        return 3 * wide
    if block.kind == "convolution":
        return wide
    if block.kind == "text":  # norms 4, attention 5; inside, before and after the activation and its sigmoid
        return 9 * wide + 3 * out
    # A transformer's block: self-attention 7, cross-attention 5 (its keys and values belong to the text), GEGLU 18.
    return 30 * wide


def computed_again(blocks: list[Block], how: str) -> list[Block]:
    """The blocks that gradient checkpointing computes again: all that can be, or, for `large`, those that keep more
    than half as much as the one that keeps the most."""
    able = [block for block in blocks if block.may_compute_again]
    if how == "off" or not able:
        return []
    sizes = {block: kept_per_place(block) / 4**block.level for block in able}
    least = max(sizes.values()) / 2 if how == "large" else 0
    return [block for block in able if sizes[block] > least]
