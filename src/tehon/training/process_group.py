"""The processes of one training, one for each device: one alone, or several that torchrun or accelerate started.

All hold the same weights. Each computes the gradients of its share of an update's readings; these are added up over all
processes, and everybody makes the same update with the sum. Since order, noise and timesteps belong to readings, who
computes what changes nothing but the order in which numbers are added.

>>> with joined(place_here()) as peers:
...     peers.add_up(state.flat.gradients, loss)
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from tehon.data.plan.epochs import Batch, shared
from tehon.messages.problem import Problem, reason_of
from tehon.processes import Place

PATIENCE = timedelta(hours=1)
"""How long one process waits for another: as long as drawing all samples or saving may take."""
Thing = TypeVar("Thing")


class ProcessGroup(Protocol):
    """`rank` is the number of this process, `count` how many there are. The first, 0, leads: it alone talks, writes and
    draws. All but `rank` and `count` is called by all processes in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def add_up(self, gradients: Tensor, loss: Tensor) -> None:
        """Puts the sums over all processes in their places; both on the training's device."""
        ...

    def agree(self, wanted: bool) -> bool:
        """Whether any process wants it."""
        ...

    def hand_out(self, thing: Thing) -> Thing:
        """What the first process gave to this; what the others give is left aside."""
        ...

    def exchange(self, own: Thing) -> list[Thing]:
        """What each process gave, in their order."""
        ...


class Alone:
    """The only process."""

    rank, count = 0, 1

    def add_up(self, gradients: Tensor, loss: Tensor) -> None:
        """Nothing to do: its own gradients are all there are."""

    def agree(self, wanted: bool) -> bool:
        return wanted

    def hand_out(self, thing: Thing) -> Thing:
        return thing

    def exchange(self, own: Thing) -> list[Thing]:
        return [own]


class Together:
    """One of several processes, over torch.distributed: what is on graphics cards goes over NCCL, all else over Gloo,
    which notices at once when a process is gone. Then, and when one is silent for too long, there is a Problem."""

    def __init__(self, place: Place) -> None:
        """Waits until all are there."""
        import torch.distributed

        self.rank, self.count = place.rank, place.count
        self.group: Any = torch.distributed
        if place.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(place.local_rank)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with self._needing_all():
            self.group.init_process_group(backend, rank=self.rank, world_size=self.count, timeout=PATIENCE)

    def add_up(self, gradients: Tensor, loss: Tensor) -> None:
        with self._needing_all():
            self.group.all_reduce(gradients)
            self.group.all_reduce(loss)

    def agree(self, wanted: bool) -> bool:
        votes = torch.tensor([int(wanted)])
        with self._needing_all():
            self.group.all_reduce(votes)
        return bool(votes.item())

    def hand_out(self, thing: Thing) -> Thing:
        things: list[Any] = [thing]
        with self._needing_all():
            self.group.broadcast_object_list(things)
        return things[0]

    def exchange(self, own: Thing) -> list[Thing]:
        things: list[Any] = [None] * self.count
        with self._needing_all():
            self.group.all_gather_object(things, own)
        return things

    def leave(self) -> None:
        self.group.destroy_process_group()

    @contextmanager
    def _needing_all(self) -> Generator[None, None, None]:
        try:
            yield
        except RuntimeError as error:  # all that torch.distributed raises
            raise Problem("process_lost", count=self.count, reason=reason_of(error)) from error


@contextmanager
def joined(place: Place) -> Generator[ProcessGroup, None, None]:
    """This process among those of its training. One that ends with an error leaves without a word to the others, who
    notice."""
    if place.count == 1:
        yield Alone()
        return
    together = Together(place)
    yield together
    together.leave()


def own_share(peers: ProcessGroup, processes: int, batches: Sequence[Batch]) -> Iterator[tuple[int, Batch]]:
    """What this process learns of an update's batches, each piece with the number of its first reading in the update.

    A batch is planned for so many `processes`. Fewer take several pieces one after the other, so that none of them
    learns more at once than was planned; more take smaller ones."""
    pieces = peers.count * -(-processes // peers.count)
    return shared(batches, pieces, range(peers.rank, pieces, peers.count))
