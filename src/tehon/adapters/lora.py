"""LoRA (arXiv 2106.09685) for Linear and Conv2d: W' = W + multiplier * alpha / rank * B A.

Initial values are kohya's: A Kaiming-uniform with a = sqrt 5, which is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), B zero.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tehon.adapters.adapter import Layer


class Lora:
    """A low-rank change. `down` is A, (rank, in) or (rank, in, kh, kw); `up` is B, (out, rank) or (out, rank, 1, 1)."""

    def __init__(self, layer: Layer, rank: int, alpha: float, multiplier: float = 1.0) -> None:
        self.layer = layer
        self.rank = rank
        self.alpha = alpha
        self.multiplier = multiplier
        weight = layer.weight
        tail = (1,) * (weight.dim() - 2)
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:], device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, *tail, device=weight.device))

    def initialise(self, generator: torch.Generator) -> None:
        """Draws A from a CPU generator, so that every device starts alike; B becomes zero."""
        bound = 1 / math.sqrt(self.down[0].numel())
        drawn = torch.rand(self.down.shape, generator=generator) * (2 * bound) - bound
        with torch.no_grad():
            self.down.copy_(drawn)
            self.up.zero_()

    @property
    def scale(self) -> float:
        return self.multiplier * self.alpha / self.rank

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"lora_down.weight": self.down, "lora_up.weight": self.up}

    def buffers(self) -> dict[str, Tensor]:
        return {"alpha": torch.tensor(float(self.alpha))}

    def delta(self) -> Tensor:
        product = self.up.flatten(1) @ self.down.flatten(1)
        return self.scale * product.view(self.layer.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as the layer's own: (..., in) to (..., out), or (n, in, h, w) to (n, out, h', w')."""
        layer = self.layer
        up = (self.up * self.scale).to(x.dtype)  # scaling the small matrix is cheaper than scaling the output
        if isinstance(layer, nn.Linear):
            y = F.linear(x, layer.weight, layer.bias)
            return y + F.linear(F.linear(x, self.down.to(x.dtype)), up)
        y = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        narrow = F.conv2d(x, self.down.to(x.dtype), None, layer.stride, layer.padding, layer.dilation)
        return y + F.conv2d(narrow, up)
