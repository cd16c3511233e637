"""What keeps an adapter from learning by heart: parts left out at random, and a limit on the size of the change.

Each of the three kinds of dropout is drawn for each sample, in training only; but for kinds that build the change
itself (LoHa), ranks are drawn once an update for all its samples. Kept numbers and ranks are enlarged so
that the mean stays; a module that is left out is not made up for, as in sd-scripts.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from tehon.adapters.adapter import Adapter
from tehon.adapters.chance import Chance


@dataclass(frozen=True)
class Restraint:
    """The shares of one adapter's numbers, ranks and modules that are left out."""

    chance: Chance | None = None
    dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is left out at this moment."""
        drawing = self.chance is not None and self.chance.drawing
        return not (drawing and (self.dropout or self.rank_dropout or self.module_dropout))

    def narrow(self, h: Tensor, channel: int) -> Tensor:
        """What flows between down and up, with numbers and ranks left out. `channel` is the dimension of the ranks."""
        if self.chance is None or not self.chance.drawing:
            return h
        if self.dropout:
            keep = self.chance.uniform("dropout", len(h), h[0].numel()) >= self.dropout
            h = h * (keep / (1 - self.dropout)).view(h.shape).to(h.dtype)
        if self.rank_dropout:
            keep = self.chance.uniform("rank", len(h), h.shape[channel]) >= self.rank_dropout
            shape = [len(h)] + [1] * (h.dim() - 1)
            shape[channel] = h.shape[channel]
            h = h * (keep / (1 - self.rank_dropout)).view(shape).to(h.dtype)
        return h

    def ranks(self, rank: int, device: torch.device) -> Tensor | None:
        """Factors (rank,) for kinds that build the change itself, the same for all samples of an update; None: all
        1."""
        if not self.rank_dropout or self.chance is None or not self.chance.drawing:
            return None
        return (self.chance.shared("rank", rank, device) >= self.rank_dropout) / (1 - self.rank_dropout)

    @property
    def whole_may_go(self) -> bool:
        """Whether some samples may go without the module at this moment."""
        return bool(self.module_dropout) and self.chance is not None and self.chance.drawing

    def whole(self, change: Tensor) -> Tensor:
        """The adapter's contribution to the output, zero for the samples that go without this module."""
        if not self.whole_may_go or self.chance is None:
            return change
        keep = self.chance.uniform("module", len(change), 1) >= self.module_dropout
        return change * keep.view(-1, *(1 for _ in change.shape[1:])).to(change.dtype)


FREE = Restraint()


@dataclass(frozen=True)
class Norms:
    """What a limit on norms found: how many changes were too large, and the mean and largest norm after scaling."""

    scaled: Tensor
    mean: Tensor
    largest: Tensor


@torch.no_grad()
def limit_norms(adapters: Collection[Adapter], limit: float) -> Norms:
    """Scales changes whose Frobenius norm is above `limit` down to it, spread evenly over the factors.

    The rule is sd-scripts' `scale_weight_norms`. All of it stays on the device.
    """
    norms = torch.stack([adapter.delta().norm() for adapter in adapters])
    ratios = (limit / norms.clamp(min=limit / 2)).clamp(max=1.0)
    for adapter, ratio in zip(adapters, ratios, strict=True):
        factors = adapter.factors()
        for factor in factors:
            factor.mul_(ratio ** (1 / len(factors)))
    after = norms * ratios
    return Norms((ratios < 1).sum(), after.mean(), after.max())
