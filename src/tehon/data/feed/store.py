"""Latents of all pictures, encoded once and kept in memory, as mean and standard deviation.

Keeping both instead of one draw means that every reading of a picture gets a fresh sample of its posterior, as it
would without a cache.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tehon.data.feed.pixels import read_pixels
from tehon.data.plan.buckets import Placement
from tehon.messages.problem import Problem

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


class LatentStore:
    """`mean(i)` and `std(i)` are float32 (c, h/8, w/8) of picture i."""

    def __init__(self, pictures: Sequence[tuple[Path, Placement]], encode: Encode, batch_size: int) -> None:
        """Encodes the pictures, those of one bucket together, `batch_size` at a time; NaN is a Problem."""
        self._moments: dict[int, tuple[Tensor, Tensor]] = {}
        order = sorted(range(len(pictures)), key=lambda i: pictures[i][1].bucket)
        for group in _runs(order, pictures, batch_size):
            pixels = torch.stack([read_pixels(*pictures[i]) for i in group])
            mean, std = encode(pixels)
            for row, i in enumerate(group):
                if not (mean[row].isfinite().all() and std[row].isfinite().all()):
                    raise Problem("latent_not_finite", path=pictures[i][0])
                self._moments[i] = mean[row].float(), std[row].float()

    def draw(self, pictures: Sequence[int], noise: Tensor) -> Tensor:
        """A sample of each picture's posterior, mean + std * noise: noise (n, c, h, w) to latents of that shape."""
        means = torch.stack([self._moments[i][0] for i in pictures])
        stds = torch.stack([self._moments[i][1] for i in pictures])
        return means + stds * noise

    def shape(self, picture: int) -> tuple[int, ...]:
        """(c, h/8, w/8)."""
        return tuple(self._moments[picture][0].shape)


def _runs(order: list[int], pictures: Sequence[tuple[Path, Placement]], size: int) -> list[list[int]]:
    runs: list[list[int]] = []
    for i in order:
        if runs and len(runs[-1]) < size and pictures[runs[-1][0]][1].bucket == pictures[i][1].bucket:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs
