"""Frozen weights that lie in memory in a narrower type than they compute in, and are unpacked layer by layer.

A packed layer is still a Linear or Conv2d with a `weight`, which is unpacked each time it is asked for. In the backward
it is unpacked again instead of being kept, and the layer's input is not kept either.

>>> pack(unet, "fp8", torch.bfloat16)
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from tehon.machine.pages import let_go
from tehon.machine.products import linear, times

Unpack = Callable[[torch.dtype], Tensor]
_FP8 = torch.float8_e4m3fn
_INSIDE = ("down_blocks.", "mid_block.", "up_blocks.", "layers.")


def packable(path: str, layer: nn.Module) -> bool:
    """Whether a layer's weight may be packed: what lies inside the blocks. Ends and embeddings are small, and the whole
    network depends on them."""
    return isinstance(layer, nn.Linear | nn.Conv2d) and any(place in f"{path}." for place in _INSIDE)


def pack(network: nn.Module, kind: str, dtype: torch.dtype) -> None:
    """Packs a network that is loaded. `kind` is fp16, bf16, fp8 or nf4, `dtype` what it computes in."""
    for path, layer in network.named_modules():
        if packable(path, layer):
            frozen: Any = layer
            pack_layer(frozen, frozen.weight.detach(), kind, dtype)


def pack_layer(layer: Any, weight: Tensor, kind: str, dtype: torch.dtype) -> None:
    """Gives a layer this weight, packed. If it lies in a mapped file, its own pages are given back."""
    frozen: Any = layer
    del frozen._parameters["weight"]
    frozen.__class__ = PackedLinear if isinstance(layer, nn.Linear) else PackedConv2d
    frozen.unpack, frozen.compute = _PACK[kind](weight), dtype
    if weight.dtype != _HALVES.get(kind):
        let_go(weight)


def _half(dtype: torch.dtype) -> Callable[[Tensor], Unpack]:
    def packed(weight: Tensor) -> Unpack:
        return weight.to(dtype).to

    return packed


def _fp8(weight: Tensor) -> Unpack:
    """float8_e4m3fn (arXiv 2209.05433) with a power of two for each output, by which its largest number just fits: most
    weights of a U-Net are below the smallest normal number of the type, 2⁻⁶. Unpacking rounds nothing."""
    largest = weight.float().abs().flatten(1).amax(1).clamp(min=2.0**-20)
    scale = torch.exp2(torch.ceil(torch.log2(largest / torch.finfo(_FP8).max)))
    scale = scale.view(-1, *(1 for _ in weight.shape[1:]))
    packed = (weight.float() / scale).to(_FP8)
    return lambda dtype: packed.to(dtype) * scale.to(dtype)


def _nf4(weight: Tensor) -> Unpack:
    """The 4-bit type of QLoRA (arXiv 2305.14314), by bitsandbytes, with a scale for each 64 numbers."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(weight.float().contiguous(), blocksize=64, quant_type="nf4")
    return lambda dtype: functional.dequantize_4bit(packed, state).to(dtype)


_HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_PACK: dict[str, Callable[[Tensor], Unpack]] = {
    **{kind: _half(dtype) for kind, dtype in _HALVES.items()},
    "fp8": _fp8,
    "nf4": _nf4,
}


class PackedLinear(nn.Linear):
    unpack: Unpack
    compute: torch.dtype

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.unpack(self.compute)

    def forward(self, input: Tensor) -> Tensor:
        return _Frozen.apply(input, self, self.bias)  # pyright: ignore[reportReturnType]

    def unbiased(self, x: Tensor) -> Tensor:
        """The layer without its bias."""
        return _Frozen.apply(x, self, None)  # pyright: ignore[reportReturnType]

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(x, weight, bias)

    def gradient(self, shape: Any, weight: Tensor, gradient: Tensor) -> Tensor:
        return times(gradient, weight)


class PackedConv2d(nn.Conv2d):
    unpack: Unpack
    compute: torch.dtype

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.unpack(self.compute)

    def forward(self, input: Tensor) -> Tensor:
        return _Frozen.apply(input, self, self.bias)  # pyright: ignore[reportReturnType]

    def unbiased(self, x: Tensor) -> Tensor:
        """The layer without its bias."""
        return _Frozen.apply(x, self, None)  # pyright: ignore[reportReturnType]

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(x, weight, bias)

    def gradient(self, shape: Any, weight: Tensor, gradient: Tensor) -> Tensor:
        geometry: Any = (self.stride, self.padding, self.dilation, self.groups)
        return conv2d_input(shape, weight, gradient, *geometry)


class _Frozen(torch.autograd.Function):
    """A packed layer's operation; gradients go to its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, bias: Tensor | None) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return layer.operate(x, layer.weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return ctx.layer.gradient(ctx.shape, ctx.layer.weight, grad_outputs[0]), None, None
