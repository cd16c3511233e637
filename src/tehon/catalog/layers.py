"""The layers of Stable Diffusion's networks that can carry an adapter, by name and size, from the network's
configuration.

Names and sizes are those of diffusers' UNet2DConditionModel and transformers' CLIPTextModel; a test compares them with
the real modules. A plan can so name every adapter without loading a model.

>>> rows = unet_layers(json.loads((folder / "unet" / "config.json").read_text()))
>>> next(rows)
LayerRow(path='down_blocks.0.resnets.0.conv1', shape=(320, 320, 3, 3), place='residual')
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
"""Of tensors, by their names."""


@dataclass(frozen=True)
class LayerRow:
    """One Linear, shape (out, in), or Conv2d, shape (out, in, kernel height, kernel width).

    `place` is "attention" inside transformers, which every adapter changes, and "residual" in the blocks around them
    (Res blocks, down- and upsamplers), which only networks with a convolution rank reach.
    """

    path: str
    shape: Shape
    place: Literal["attention", "residual"]


OUTSIDE_LINEAR = ("time_embedding.linear_1", "time_embedding.linear_2")
OUTSIDE = ("conv_in", "conv_out", *OUTSIDE_LINEAR)
"""Layers of a U-Net that foreign files may hold and that no network trains here."""


def unet_layers(config: dict[str, Any]) -> Iterator[LayerRow]:
    """The layers of a U-Net, from its input to its output. conv_in, conv_out and the time embedding are no targets."""
    channels: list[int] = config["block_out_channels"]
    per_block: int = config["layers_per_block"]
    depths = listed(config.get("transformer_layers_per_block", 1), len(channels))
    time = 4 * channels[0]
    linear = bool(config.get("use_linear_projection"))

    def block(path: str, ins: list[int], out: int, attends: bool, depth: int) -> Iterator[LayerRow]:
        for j, wide in enumerate(ins):
            yield from _resnet(f"{path}.resnets.{j}", wide, out, time)
        for j in range(len(ins)) if attends else ():
            yield from _transformer(f"{path}.attentions.{j}", out, config["cross_attention_dim"], depth, linear)

    for i, (kind, out) in enumerate(zip(config["down_block_types"], channels, strict=True)):
        ins = [channels[max(i - 1, 0)]] + [out] * (per_block - 1)
        yield from block(f"down_blocks.{i}", ins, out, "CrossAttn" in kind, depths[i])
        if i < len(channels) - 1:
            yield LayerRow(f"down_blocks.{i}.downsamplers.0.conv", (out, out, 3, 3), "residual")
    last = channels[-1]
    for j in range(2):
        yield from _resnet(f"mid_block.resnets.{j}", last, last, time)
    yield from _transformer("mid_block.attentions.0", last, config["cross_attention_dim"], depths[-1], linear)
    upwards = channels[::-1]
    for i, (kind, out) in enumerate(zip(config["up_block_types"], upwards, strict=True)):
        # The first Res block takes the block below, the others their forerunner; the skips mirror the way down.
        skips = [out] * per_block + [upwards[min(i + 1, len(upwards) - 1)]]
        below = [upwards[max(i - 1, 0)]] + [out] * per_block
        ins = [wide + skip for wide, skip in zip(below, skips, strict=True)]
        yield from block(f"up_blocks.{i}", ins, out, "CrossAttn" in kind, depths[::-1][i])
        if i < len(channels) - 1:
            yield LayerRow(f"up_blocks.{i}.upsamplers.0.conv", (out, out, 3, 3), "residual")


def text_layers(config: dict[str, Any]) -> Iterator[LayerRow]:
    """The layers of a CLIP text encoder, by the paths that LoRA files know."""
    wide, inner = config["hidden_size"], config["intermediate_size"]
    for i in range(config["num_hidden_layers"]):
        path = f"text_model.encoder.layers.{i}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield LayerRow(f"{path}.self_attn.{name}", (wide, wide), "attention")
        yield LayerRow(f"{path}.mlp.fc1", (inner, wide), "attention")
        yield LayerRow(f"{path}.mlp.fc2", (wide, inner), "attention")


def listed(value: int | list[int], count: int) -> list[int]:
    return value if isinstance(value, list) else [value] * count


def _resnet(path: str, wide: int, out: int, time: int) -> Iterator[LayerRow]:
    yield LayerRow(f"{path}.conv1", (out, wide, 3, 3), "residual")
    yield LayerRow(f"{path}.time_emb_proj", (out, time), "residual")
    yield LayerRow(f"{path}.conv2", (out, out, 3, 3), "residual")
    if wide != out:
        yield LayerRow(f"{path}.conv_shortcut", (out, wide, 1, 1), "residual")


def _transformer(path: str, wide: int, text: int, depth: int, linear: bool) -> Iterator[LayerRow]:
    projection = (wide, wide) if linear else (wide, wide, 1, 1)
    rows = [("proj_in", projection)]
    for k in range(depth):
        block = f"transformer_blocks.{k}"
        rows += [(f"{block}.attn1.{name}", (wide, wide)) for name in ("to_q", "to_k", "to_v", "to_out.0")]
        rows += [(f"{block}.attn2.to_q", (wide, wide)), (f"{block}.attn2.to_k", (wide, text))]
        rows += [(f"{block}.attn2.to_v", (wide, text)), (f"{block}.attn2.to_out.0", (wide, wide))]
        rows += [(f"{block}.ff.net.0.proj", (8 * wide, wide)), (f"{block}.ff.net.2", (wide, 4 * wide))]
    for name, shape in [*rows, ("proj_out", projection)]:
        yield LayerRow(f"{path}.{name}", shape, "attention")
