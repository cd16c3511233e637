"""Frozen linear layers: the output, and the gradient of the input alone, by products of `tehon.machine.products`.

>>> freeze_linears(unet)
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tehon.machine.products import FEWEST, linear, onednn_is_faster, times


class FrozenLinear(nn.Linear):
    """A Linear whose weight does not change."""

    def forward(self, input: Tensor) -> Tensor:
        plain = self.weight.requires_grad or input.dtype != torch.float32 or self.weight.dtype != torch.float32
        if plain or input.numel() * self.out_features < FEWEST:
            return F.linear(input, self.weight, self.bias)
        return _Linear.apply(input, self)  # pyright: ignore[reportReturnType]


def freeze_linears(network: nn.Module) -> None:
    """Lets the linear layers of a network on a CPU compute so, where that is faster than PyTorch's own way."""
    if not onednn_is_faster():
        return
    for layer in network.modules():
        if type(layer) is nn.Linear:
            frozen: Any = layer
            frozen.__class__ = FrozenLinear


class _Linear(torch.autograd.Function):
    """(..., in) to (..., out), without keeping the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Linear) -> Tensor:
        ctx.layer = layer
        return linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return times(grad_outputs[0], ctx.layer.weight), None
