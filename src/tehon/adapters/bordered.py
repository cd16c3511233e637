"""Frozen weights with the matrices of a LoRA as their border, [[W, B], [A, 0]], so that one product gives x Wᵀ and
x Aᵀ, and one gives g W and g B. For graphics cards, where products with A and B alone take as long as those with W.

>>> border = Border(layer, down, up, narrow)
>>> y, h = border.forward(rows, scale)
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from tehon.adapters.adapter import Layer
from tehon.adapters.beside import forgotten, joined
from tehon.adapters.flat import FlatParameters, Narrow

_ALIGNED = 8  # numbers of 16 bits: what a card reads at once


@cache
def _kernels(device: str) -> Any:
    """Triton's kernels, None without them."""
    if device != "cuda" or find_spec("triton") is None:
        return None
    from tehon.adapters import kernels

    return kernels


class Border:
    """The layer's weight becomes a view of `matrix`, (out + rank, in + rank), with the rank rounded up to a multiple of
    8. The border follows the weights of `narrow`."""

    def __init__(self, layer: Layer, down: nn.Parameter, up: nn.Parameter, narrow: Narrow) -> None:
        weight = layer.weight.detach().flatten(1)
        self.out, self.into = weight.shape
        self.rank, self.dtype = len(down), weight.dtype
        wide = -(-self.rank // _ALIGNED) * _ALIGNED
        self.matrix = weight.new_zeros(self.out + wide, self.into + wide)
        self.matrix[: self.out, : self.into] = weight
        layer.weight.data = self.matrix[: self.out, : self.into].view(layer.weight.shape)
        self.bias = None if layer.bias is None else torch.cat([layer.bias.detach(), layer.bias.new_zeros(wide)])
        self.over, self.beside = self.matrix[:, : self.into], self.matrix[: self.out]
        self.down, self.up = self.matrix[self.out :, : self.into], self.matrix[: self.out, self.into :]
        narrow.follow(down, self.down[: self.rank])
        narrow.follow(up, self.up[:, : self.rank])

    @staticmethod
    def possible(layer: Layer, narrow: Narrow, *parameters: nn.Parameter) -> bool:
        """Whether there are kernels for it, and both matrices are among the weights that learn."""
        there = _kernels(layer.weight.device.type) is not None and layer.weight.dtype == narrow.dtype
        return there and all(parameter in narrow.views for parameter in parameters)

    def forward(self, rows: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """From x (m, in): the changed layer's output (m, out), and h = x Aᵀ (m, rank)."""
        out, narrow = self._updated(linear(rows, self.over, self.bias), self.out, self.up, scale)
        return out, narrow[:, : self.rank]

    def backward(self, gradient: Tensor, scale: float, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """From g (m, out): the gradient of x (m, in), added to `previous`, and g B (m, rank)."""
        out, narrow = self._updated(gradient.mm(self.beside), self.into, self.down.t(), scale, previous)
        return out, narrow[:, : self.rank]

    def _updated(self, wide: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        return _kernels(wide.device.type).updated(wide, *rest)


@contextmanager
def narrowed(flat: FlatParameters) -> Generator[None, None, None]:
    """Forward and backward of a batch: narrow copies and borders are those of the weights as they are now, and at the
    end all gradients are there, also those that were computed beside the others."""
    narrow = flat.narrow
    if narrow is not None:
        narrow.weights.copy_(flat.weights)
        _refresh(narrow)
        narrow.gradients.zero_()
        narrow.active = True
    try:
        yield
    except BaseException:
        forgotten()
        raise
    finally:
        if narrow is not None:
            narrow.active = False
    joined(flat.gradients.device)
    if narrow is not None:
        flat.gradients.add_(narrow.gradients)


def _refresh(narrow: Narrow) -> None:
    """Brings the borders up to the weights of `narrow`."""
    if narrow.followers:
        device = narrow.weights.device
        kernels = _kernels(device.type)
        if narrow.table is None:
            narrow.table = kernels.spread_table(narrow.followers, device)
        kernels.spread(narrow.weights, narrow.table)
