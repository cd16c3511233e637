"""DoRA (arXiv 2402.09353): W' = m (W + dW) / |W + dW|, with dW a LoRA and m trained lengths.

Lengths belong to outputs, as in peft and LyCORIS' default, or to inputs, as A1111 reads them; the shape of
`dora_scale` tells which. The norm is taken as a constant in the backward (section 4.3). It is computed without building
dW: |w + s b A|² = |w|² + 2 s b·(A w) + s² b (A Aᵀ) bᵀ for a row w of W and b of B, and likewise for columns.
"""

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, pointwise, run, unbiased
from tehon.adapters.lora import Lora, product
from tehon.adapters.restraint import FREE, Restraint


class Dora:
    """A LoRA with lengths trained beside it: `lengths` is m, (out, 1) or (1, in), with ones behind for a Conv2d."""

    def __init__(
        self, layer: Layer, shapes: Shapes, alpha: float, restraint: Restraint = FREE, *, init: str = "kaiming"
    ) -> None:
        self.lora = Lora(layer, shapes, alpha, restraint, init=init)
        self.layer = layer
        self.multiplier = 1.0
        self.tensors = self.lora.tensors
        self.lengths = self.tensors["dora_scale"]
        self.by_output = self.lengths.shape[0] == layer.weight.shape[0]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        self.lora.initialise(generator)
        self.lengths.copy_(self._norms())

    def constants(self) -> dict[str, Tensor]:
        return self.lora.constants()

    def factors(self) -> tuple[nn.Parameter, ...]:
        """None: the change is no product."""
        return ()

    @torch.no_grad()
    def _norms(self) -> Tensor:
        """|W + dW| of each row or column, float32, shaped like the lengths."""
        weight = self.layer.weight.float().flatten(1)
        down, up, scale = self.lora.down.float().flatten(1), self.lora.up.float().flatten(1), self.lora.scale
        if self.by_output:
            crossed, own = (weight @ down.T) * up, (up @ (down @ down.T)) * up
        else:
            crossed, own = (up.T @ weight) * down, ((up.T @ up) @ down) * down
        side = 1 if self.by_output else 0
        squares = weight.square().sum(side) + 2 * scale * crossed.sum(side) + scale**2 * own.sum(side)
        return squares.view(self.lengths.numel(), -1).sum(1).clamp(min=1e-24).sqrt().view(self.lengths.shape)

    def delta(self) -> Tensor:
        weight = self.layer.weight.float()
        stretch = self.lengths / self._norms()
        change = self.lora.scale * product(self.lora.down, None, self.lora.up).view(weight.shape)
        return self.multiplier * ((stretch - 1) * weight + stretch * change)

    def forward(self, x: Tensor) -> Tensor:
        """With c = m / |W + dW| on the outputs: y = W x + bias + (c - 1) W x + c s B A x; on the inputs c scales x."""
        channels = (-1,) if isinstance(self.layer, nn.Linear) else (-1, 1, 1)
        stretch = (self.lengths / self._norms()).flatten()
        plain = unbiased(self.layer, x)
        if self.by_output:
            up = self.lora.up.flatten(1) * (stretch * self.lora.scale)[:, None]
            change = (stretch - 1).to(x.dtype).view(channels) * plain + self._low_rank(x, up)
        else:
            more = x * (stretch - 1).to(x.dtype).view(channels)
            change = unbiased(self.layer, more)
            change = change + self._low_rank(x + more, self.lora.up.flatten(1) * self.lora.scale)
        y = plain + self.lora.restraint.whole(self.multiplier * change)
        return y if self.layer.bias is None else y + self.layer.bias.view(channels)

    def _low_rank(self, x: Tensor, up: Tensor) -> Tensor:
        narrow = run(self.layer, x, self.lora.down.to(x.dtype))
        narrow = self.lora.restraint.narrow(narrow, -1 if isinstance(self.layer, nn.Linear) else 1)
        return pointwise(self.layer, narrow, up.to(x.dtype))
