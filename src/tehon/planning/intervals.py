"""Every so many steps and every so many epochs: after which updates something is due."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from math import lcm


@dataclass(frozen=True)
class Intervals:
    """0 means never by that count. `steps` are the run's updates; an epoch that these cut short ends with them."""

    every_n_steps: int
    every_n_epochs: int
    steps: int
    steps_per_epoch: int

    def by_epoch(self, step: int) -> int | None:
        """The epoch, counted from 1, that ends with this update, if that makes it due."""
        epoch = -(-step // self.steps_per_epoch)
        ends = step > 0 and (step % self.steps_per_epoch == 0 or step == self.steps)
        return epoch if ends and self.every_n_epochs and epoch % self.every_n_epochs == 0 else None

    def by_step(self, step: int) -> bool:
        return step > 0 and self.every_n_steps > 0 and step % self.every_n_steps == 0

    @property
    def count(self) -> int:
        """After how many updates something is due."""
        by_steps, by_epochs = self.every_n_steps, self.every_n_epochs * self.steps_per_epoch
        both = lcm(by_steps, by_epochs)  # 0 where one of them is
        found = sum(self.steps // every for every in (by_steps, by_epochs) if every)
        found -= self.steps // both if both else 0
        cut_short = self.steps % self.steps_per_epoch > 0 and self.by_epoch(self.steps) is not None
        return found + (cut_short and not self.by_step(self.steps))

    def updates(self) -> Iterator[int]:
        """Those updates, in order; there may be too many for a list."""
        periods = [every for every in (self.every_n_steps, self.every_n_epochs * self.steps_per_epoch) if every]
        candidates = merge(*(range(every, self.steps + 1, every) for every in periods), [self.steps])
        return filter(self.due, (step for step, _ in groupby(candidates)))

    def due(self, step: int) -> bool:
        return self.by_step(step) or self.by_epoch(step) is not None
