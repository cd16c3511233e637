"""What the networks keep for the backward pass, block by block, worked out from their configurations.

The numbers follow from what autograd saves for each operation when the network is frozen and adapters lie on its
layers: a norm and an activation keep their input, as a convolution does except where it is spared, a frozen Linear
nothing, one with an adapter its input, and attention its queries, keys, values and output. They stand in the tables
below and nowhere else; `docs/memory.md` says how a run's memory follows from them, and a test counts what autograd
really saves.

>>> blocks = list(unet_blocks(json.loads((folder / "unet" / "config.json").read_text())))
>>> blocks[0]
Block(path='down_blocks.0.resnets.0', kind='resnet', wide=320, out=320, level=0)
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from tehon.catalog.kinds import ia3_on_input
from tehon.catalog.layers import Shape, listed


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


def kernels(blocks: Iterable[Block]) -> Iterator[tuple[int, int, int]]:
    """(channels in, channels out, level) of the blocks' 3x3 convolutions that keep the size of the picture."""
    for block in blocks:
        if block.kind == "resnet":
            yield block.wide, block.out, block.level
            yield block.out, block.out, block.level
        elif block.kind == "convolution" and "upsamplers" in block.path:
            yield block.wide, block.out, block.level


def text_blocks(config: dict[str, Any]) -> Iterator[Block]:
    """The layers of a CLIP text encoder."""
    wide, inner = config["hidden_size"], config["intermediate_size"]
    for i in range(config["num_hidden_layers"]):
        yield Block(f"encoder.layers.{i}", "text", wide, inner)


KEPT: dict[str, tuple[int, int]] = {
    "resnet": (3, 3),  # norm, activation and convolution, twice
    "frame": (3, 0),  # norm, proj_in, proj_out
    "convolution": (1, 0),
    # Three norms 3, attention 4, over the text 2 (its keys and values are the text's), GEGLU 12.
    "transformer": (21, 0),
    "text": (6, 2),  # two norms 2, attention 4; the activation and its sigmoid
}
"""What a block of a kind keeps for each pixel or token, whatever lies on it, in multiples of its (wide, out)."""

SPARED: dict[str, dict[str, tuple[int, int]]] = {
    "resnet": {"conv1": (1, 0), "conv2": (0, 1), "nonlinearity": (1, 1)},
    "convolution": {"conv": (1, 0)},
    "transformer": {"ff.net.0.gelu": (4, 0)},
}
"""What of it is not kept where a network that is frozen computes in float32 on a CPU (`tehon.frozen`), by its path in
the block: the input of a convolution without an adapter, and what becomes of a gate or of a norm before SiLU."""

INPUTS: dict[str, dict[str, tuple[str, int, int]]] = {
    "transformer": {
        "attn1.to_q": ("attn1", 1, 0),
        "attn1.to_k": ("attn1", 1, 0),
        "attn1.to_v": ("attn1", 1, 0),
        "attn2.to_q": ("attn2", 1, 0),
        "ff.net.0.proj": ("ff", 1, 0),
        "ff.net.2": ("inner", 4, 0),
    },
    "text": {
        "self_attn.q_proj": ("attn", 1, 0),
        "self_attn.k_proj": ("attn", 1, 0),
        "self_attn.v_proj": ("attn", 1, 0),
        "mlp.fc1": ("mlp", 1, 0),
        "mlp.fc2": ("inner", 0, 1),
    },
}
"""What is kept beside that as the input of a Linear with an adapter, by the end of its path: (a name, which those have
in common that share their input, and multiples of wide and out)."""

TRANSIENT: dict[str, int] = {"resnet": 6, "frame": 4, "convolution": 4, "transformer": 34, "text": 24}
"""What the backward of a block holds at once beside what is kept, for each place, in multiples of its `wide`."""

LARGEST: dict[str, int] = {"transformer": 8, "text": 4}
"""The numbers of a block's largest tensor for each place, in multiples of its `wide`; 1 where nothing is said."""


WINOGRAD = 36
"""How many numbers stand for the nine of a kernel in a frozen 3x3 convolution that is computed in Winograd's way."""
MOST_TRANSFORMED = 2 * 2**30
"""Bytes that all of these take at most."""
FEWEST_TILES, FEWEST_WEIGHTS = 32, 2**16
"""With fewer 4 x 4 pixels in a batch, or fewer numbers in a kernel, other ways are faster."""
FEWEST_WEIGHTS_WITH_ONEDNN = 9 * 2**16
"""The same where products are oneDNN's (`tehon.machine.products`), which is then as fast by itself."""


def transformed(
    convolutions: Iterable[tuple[int, int, int]], tiles: Sequence[int], fewest_weights: int = FEWEST_WEIGHTS
) -> int:
    """Bytes of the kernels that are computed in Winograd's way, the smallest first while there is room; `tiles` are the
    4 x 4 pixels of the largest batch at each level."""
    found, room = 0, MOST_TRANSFORMED
    for into, out, level in sorted(convolutions, key=lambda one: one[0] * one[1]):
        size = 4 * WINOGRAD * into * out
        if 9 * into * out < fewest_weights:
            continue
        if size > room:
            break
        room -= size
        if tiles[level] >= FEWEST_TILES:
            found += size
    return found


def kept_per_place(block: Block, adapted: Collection[str] | None = None, spares: bool = False) -> int:
    """How many numbers a block keeps for each pixel of its level, or each token. `adapted` are the paths in the block
    of the layers that carry an adapter which learns from its input; None: all. `spares`: frozen convolutions keep
    nothing, and gates and norms their input alone. What depends on the length of the text, and the adapters' own
    tensors, are not among them."""
    known = INPUTS.get(block.kind, {})
    ends = known if adapted is None else [end for end in adapted if end in known]
    inputs = {known[end][0]: known[end][1:] for end in ends}
    frozen = SPARED.get(block.kind, {}) if spares else {}
    spared = [(-a, -b) for end, (a, b) in frozen.items() if end not in (adapted or ())]
    return sum(a * block.wide + b * block.out for a, b in (KEPT[block.kind], *inputs.values(), *spared))


@dataclass(frozen=True)
class Beside:
    """What an adapter keeps: so many numbers for each place, and for the module as a whole."""

    place: int
    module: int


def learns_from_input(kind: str, path: str) -> bool:
    """Whether an adapter on the layer of that path needs the layer's input for its gradient."""
    return kind != "lora_fa" and (kind != "ia3" or bool(ia3_on_input(path)))


def kept_by_adapter(kind: str, path: str, shape: Shape, tensors: Mapping[str, Shape]) -> Beside:
    """Of an adapter on a layer with a weight of a shape, beside the layer's input."""
    out, into = shape[0], shape[1]
    if kind == "loha":  # the changed weight
        return Beside(0, prod(shape))
    if kind == "lokr":  # what stands between the two factors
        small = tensors.get("lokr_w1") or (tensors["lokr_w1_a"][0], tensors["lokr_w1_b"][1])
        if "lokr_w2" in tensors:
            return Beside(small[1] * tensors["lokr_w2"][0], prod(small))
        return Beside(sum(small) * tensors["lokr_w2_a"][1], prod(small))
    if kind == "ia3":
        return Beside(0 if ia3_on_input(path) else out, 0)
    rank = tensors["lora_down.weight"][0]
    lengths = tensors.get("dora_scale")
    if lengths is None:
        return Beside(rank, 0)
    return Beside(rank + (out if lengths[0] == out else into), rank * (out + into))


def computed_again(blocks: list[Block], how: str) -> list[Block]:
    """The blocks that gradient checkpointing computes again: all that can be, or, for `large`, those that keep more
    than half as much as the one that keeps the most."""
    able = [block for block in blocks if block.may_compute_again]
    if how == "off" or not able:
        return []
    sizes = {block: kept_per_place(block) / 4**block.level for block in able}
    least = max(sizes.values()) / 2 if how == "large" else 0
    return [block for block in able if sizes[block] > least]
