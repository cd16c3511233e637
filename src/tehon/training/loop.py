"""The training loop: gradients of a group of batches, one update, one report."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tehon.adapters.restraint import Norms
from tehon.data.plan.epochs import Batch
from tehon.training.optimizers import update
from tehon.training.state import State

Group = Callable[[int], tuple[int, Sequence[Batch]]]
Learn = Callable[[int, Batch, tuple[int, int]], Tensor]
Rates = Callable[[int], Mapping[str, float]]
Share = Callable[[Sequence[Batch]], Iterable[tuple[int, Batch]]]
AddUp = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Report:
    """What one update did. Loss and norms are scalar tensors, so that nothing waits for the device."""

    step: int
    epoch: int
    rates: Mapping[str, float]
    loss: Tensor
    gradient_norm: Tensor
    batches: Sequence[Batch]
    norms: Norms | None = None
    skipped: bool = False
    """The gradients were too large for fp16 at this scale of the losses, and no update was made with them."""


def train(
    state: State,
    steps: int,
    group: Group,
    share: Share,
    learn: Learn,
    add_up: AddUp,
    rates: Rates,
    max_grad_norm: float,
) -> Iterator[Report]:
    """Runs the updates from `state.step` to `steps`, and gives a report after each.

    Of a group of batches this process computes its `share`, pieces with the number of their first sample in the update;
    `add_up(gradients, loss)` puts the sums over all processes in their places. `learn(epoch, piece, (first, samples))`
    adds a piece's gradients to those of `state` and gives its part in the loss; its first sample is the update's number
    `first` of so many. Every sample of a group weighs the same in its update, however the samples are spread over
    batches and processes.
    """
    while state.step < steps:
        epoch, batches = group(state.step)
        samples = sum(len(batch.reads) for batch in batches)
        state.flat.gradients.zero_()
        total = torch.zeros((), device=state.flat.weights.device)
        for first, piece in share(batches):
            total += learn(epoch, piece, (first, samples))
        add_up(state.flat.gradients, total)
        if state.scale:
            state.flat.gradients.div_(state.scale.factor)
        norm = state.flat.clip(max_grad_norm)
        now = rates(state.step)
        skipped = state.scale is not None and not state.scale.settle(bool(norm.isfinite()))
        state.begin_update()
        if not skipped:
            update(state.optimizer, now)
        state.step += 1
        yield Report(state.step, epoch, now, total, norm, batches, skipped=skipped)
