"""DyLoRA (arXiv 2210.07558): a LoRA of which every rank up to the full one can be cut out afterwards.

At each step a rank b is drawn, one for all layers, as all will be cut alike, and each layer computes with its first b
rows and columns alone (the paper's W↓b, equations 5 to 7), so that what matters most moves to the front. sd-scripts
multiplies with all ranks whatever it draws.

At b the scale alpha / rank is enlarged by √(rank / b), so that the few ranks of a small b move the output about as far
as all do, and learn about as fast. A LoRA cut at b that keeps this has the alpha alpha √(b / rank); see
`tehon.weights.cut`.
"""

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, base
from tehon.adapters.lora import Lora, through
from tehon.adapters.restraint import FREE, Restraint


class DyLora:
    """A LoRA, of which training uses as many ranks as are drawn: a multiple of `unit`. Everything else uses all."""

    def __init__(
        self, layer: Layer, shapes: Shapes, alpha: float, restraint: Restraint = FREE, *, init: str, unit: int
    ) -> None:
        self.whole = Lora(layer, shapes, alpha, restraint, init=init)
        assert self.whole.rank % unit == 0, "the unit divides the rank"
        self.unit = unit
        self.layer = layer
        self.tensors = self.whole.tensors
        self.multiplier = 1.0

    def drawn_rank(self) -> int:
        """The ranks in use: drawn for this update, or all outside of training."""
        rank, chance = self.whole.rank, self.whole.restraint.chance
        if chance is None or not chance.drawing:
            return rank
        return (chance.number("dylora", rank // self.unit) + 1) * self.unit

    def initialise(self, generator: torch.Generator) -> None:
        self.whole.initialise(generator)

    def constants(self) -> dict[str, Tensor]:
        return self.whole.constants()

    def factors(self) -> tuple[nn.Parameter, ...]:
        return self.whole.factors()

    def delta(self) -> Tensor:
        return self.multiplier * self.whole.delta()

    def forward(self, x: Tensor) -> Tensor:
        used = self.drawn_rank()
        up = self.whole.up[:, :used] * (self.multiplier * self.whole.scale * (self.whole.rank / used) ** 0.5)
        return base(self.layer, x) + through(self.layer, x, self.whole.down[:used], None, up, self.whole.restraint)
