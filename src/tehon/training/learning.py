"""The gradients of a batch, plainly or as a CUDA graph: the same function either way.

>>> learning.learn(epoch, batch, (0, 4))
tensor(0.0271)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tehon.adapters.bordered import narrowed
from tehon.data.plan.epochs import Batch
from tehon.machine.transfer import to_device
from tehon.training.capture import Plainly, Runner
from tehon.training.objective import Slot
from tehon.training.state import State
from tehon.training.step import Step


@dataclass(frozen=True)
class Learning:
    """Adds to the gradients of `state` those of the losses that `step` makes."""

    step: Step
    state: State
    runner: Runner = field(default_factory=Plainly)

    def learn(self, epoch: int, batch: Batch, place: Slot) -> Tensor:
        """A batch's part in the mean loss of the update, a scalar tensor; `place` is the number of its first sample in
        the update, and how many that has."""
        device, given = self.state.device, self.step.given(epoch, batch, place)
        given["samples"] = to_device(torch.tensor(float(place[1])), device)
        if self.state.scale is not None:
            given["scale"] = to_device(torch.tensor(self.state.scale.factor), device)
        return self.runner.run(self._learned, given)

    def _learned(self, given: Mapping[str, Tensor]) -> Tensor:
        with narrowed(self.state.flat):
            loss = self.step.losses(given).sum() / given["samples"]
            (loss * given["scale"] if "scale" in given else loss).backward()
        return loss.detach()
