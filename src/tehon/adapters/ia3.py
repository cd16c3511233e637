"""(IA)³ (arXiv 2205.05638): every input or output of a layer gets a factor of its own, W' = W (1 + w)."""

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, base, new_tensors, unbiased
from tehon.adapters.restraint import FREE, Restraint


class Ia3:
    """`weight` holds w: (in,) or (out,), with ones around it for a Conv2d. `on_input` says which of the two it is."""

    def __init__(self, layer: Layer, shapes: Shapes, on_input: bool, restraint: Restraint = FREE) -> None:
        self.layer = layer
        self.on_input = on_input
        self.multiplier = 1.0
        self.restraint = restraint
        self.tensors = new_tensors(layer, {name: shape for name, shape in shapes.items() if name == "weight"})
        self.weight = self.tensors["weight"]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Zero; nothing is drawn."""
        self.weight.zero_()

    def constants(self) -> dict[str, Tensor]:
        return {"on_input": torch.tensor(float(self.on_input))}

    def factors(self) -> tuple[nn.Parameter, ...]:
        return (self.weight,)

    def delta(self) -> Tensor:
        weight = self.layer.weight.float()
        ones = [1] * weight.dim()
        ones[1 if self.on_input else 0] = -1
        return self.multiplier * weight * self.weight.view(ones)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        factors = (self.multiplier * self.weight.flatten()).to(x.dtype)
        if not isinstance(layer, nn.Linear):
            factors = factors.view(-1, 1, 1)
        change = unbiased(layer, x * factors) if self.on_input else factors * unbiased(layer, x)
        return base(layer, x) + self.restraint.whole(change)
