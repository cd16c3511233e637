"""Copies of the adapter's weights that are kept beside the ones in training: their average, and the last good ones.

>>> average = Average(flat.weights, decay=0.999)
>>> average.follow(flat.weights, step=1)
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from tehon.adapters.flat import FlatParameters


class Average:
    """The exponential moving average of a vector, a ← d a + (1 - d) w, in float32. d is `decay`, but no more than
    (1 + t) / (10 + t) at update t, so that the start is soon forgotten (TensorFlow's ExponentialMovingAverage)."""

    def __init__(self, weights: Tensor, decay: float) -> None:
        self.weights = weights.float().clone()
        self.decay = decay

    @torch.no_grad()
    def follow(self, weights: Tensor, step: int, frozen: Sequence[slice] = ()) -> None:
        """Takes in the weights after an update; `step` counts updates from 1. Of the `frozen` stretches, which learn no
        more, the average stays as it is."""
        decay = min(self.decay, (1 + step) / (10 + step))
        still = [self.weights[place].clone() for place in frozen]
        self.weights.lerp_(weights.float(), 1 - decay)
        for place, values in zip(frozen, still, strict=True):
            self.weights[place] = values


@contextmanager
def averaged(average: Average | None, flat: FlatParameters) -> Generator[None, None, None]:
    """While it lasts the parameters hold the average, where there is one; afterwards their own, to the last bit."""
    if average is None:
        yield
        return
    training = flat.weights.clone()
    flat.weights.copy_(average.weights)
    try:
        yield
    finally:
        flat.weights.copy_(training)


class LastGood:
    """The newest weights that are known to give a finite loss and gradient, in the CPU's memory.

    Losses are read a few updates late where reading makes a device wait, so the weights before an update are noted, and
    confirmed when its loss has been read.
    """

    def __init__(self, weights: Tensor, step: int = 0, every: int = 1) -> None:
        """`step` is how many updates these weights have seen, `every` after how many more losses are read."""
        self.step = self._noted_step = step
        self.every = every
        pinned = weights.device.type == "cuda"  # so that nobody waits for the copy
        self._known, self._noted = (
            torch.empty(weights.shape, dtype=weights.dtype, pin_memory=pinned) for _ in range(2)
        )
        self._known.copy_(weights)
        self._noted.copy_(weights)
        self._since = 0

    def note(self, weights: Tensor, step: int) -> None:
        """Before the update that comes after `step` others."""
        self._since += 1
        if self._since >= self.every:
            self._noted.copy_(weights, non_blocking=True)
            self._noted_step = step

    def confirm(self) -> None:
        """All losses up to the last update have been read, and were finite."""
        self._since = 0
        if self._noted_step > self.step:
            self._known, self._noted = self._noted, self._known
            self.step = self._noted_step

    def bring_back(self, flat: FlatParameters) -> None:
        flat.weights.copy_(self._known)
