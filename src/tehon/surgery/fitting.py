"""An adapter made of a file's tensors, for a layer or for a bare weight: what merges into files and what merges into a
loaded network goes through the same `delta`.

>>> adapter_from(layer, tensors, "lora_unet_mid_block_attentions_0_proj_in", file).delta()
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Adapter, Layer, fill
from tehon.adapters.kinds import build
from tehon.catalog.kinds import as_expected, check_layer, rank_of

NEEDS_WEIGHT = ("dora_scale", "on_input")
"""Tensors of kinds whose change depends on the weight that it is made to."""


def adapter_from(layer: Layer, tensors: Mapping[str, Tensor], name: str, file: Path) -> Adapter:
    """The adapter of a file's layer, not yet attached; a Problem when it is none for a layer of this size."""
    weight = tuple(layer.weight.shape)
    tensors = shaped(tensors, weight)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    check_layer(file, name, shapes, weight)
    rank = rank_of(shapes) or 1
    on_input = bool(tensors.get("on_input", torch.tensor(0)))
    adapter = build(layer, shapes, float(tensors.get("alpha", torch.tensor(rank))), on_input=on_input)
    fill(adapter, tensors)
    return adapter


def shaped(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> dict[str, Tensor]:
    """A LoRA's tensors with the kernel of 1x1 written out, or left out, as the layer's weight has it."""
    sizes = as_expected({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shape)
    return {name: tensor.view(sizes[name]) for name, tensor in tensors.items()}


@torch.no_grad()
def change(weight: Tensor, tensors: Mapping[str, Tensor], name: str, file: Path, strength: float = 1.0) -> Tensor:
    """What a file's layer adds to a weight (out, in) or (out, in, kh, kw): float32, of the weight's shape."""
    adapter = adapter_from(_around(weight.float()), tensors, name, file)
    adapter.multiplier = strength
    return adapter.delta()


def _around(weight: Tensor) -> Layer:
    """A layer with this weight; how a convolution moves over a picture doesn't matter to its change."""
    with torch.device("meta"):
        out, wide, *kernel = weight.shape
        layer = nn.Conv2d(wide, out, (kernel[0], kernel[1]), bias=False) if kernel else nn.Linear(wide, out, bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer
