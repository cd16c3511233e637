"""The order in which pictures are read: a function of (seed, epoch), of nothing else.

>>> groups = [Group(bucket=(128, 128), batch_size=2, pictures=(0, 1))]
>>> order = epoch_batches(groups, repeats=[2, 1], seed=1, epoch=0)
>>> [[(read.picture, read.repeat) for read in batch.reads] for batch in order]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tehon.data.plan.buckets import Size


@dataclass(frozen=True)
class Read:
    """One reading of a picture: its number, and which of its repeats in the epoch this is."""

    picture: int
    repeat: int


@dataclass(frozen=True)
class Batch:
    """Reads of one bucket that are learned at once."""

    bucket: Size
    reads: tuple[Read, ...]


@dataclass(frozen=True)
class Group:
    """Pictures that may share a batch: those of one size, from sets with the same rules for sizes and batches."""

    bucket: Size
    batch_size: int
    pictures: tuple[int, ...]

    def reads(self, repeats: Sequence[int]) -> int:
        """How many readings of its pictures an epoch has."""
        return sum(map(repeats.__getitem__, self.pictures))


def epoch_batches(groups: Sequence[Group], repeats: Sequence[int], seed: int, epoch: int) -> list[Batch]:
    """All batches of an epoch (counted from 0) in order. A group's last batch may be short; none is dropped."""
    rng = Random(f"order {seed} {epoch}")
    batches: list[Batch] = []
    for group in groups:
        reads = [Read(picture, n) for picture in group.pictures for n in range(repeats[picture])]
        rng.shuffle(reads)
        starts = range(0, len(reads), group.batch_size)
        batches += [Batch(group.bucket, tuple(reads[start : start + group.batch_size])) for start in starts]
    rng.shuffle(batches)
    return batches


def shared(batches: Sequence[Batch], pieces: int, own: Sequence[int]) -> Iterator[tuple[int, Batch]]:
    """Cuts each batch into so many pieces of nearly one size, and gives the `own` ones of them that are not empty, each
    with the number of its first reading among those of all batches."""
    before = 0
    for batch in batches:
        count = len(batch.reads)
        for piece in own:
            first, end = count * piece // pieces, count * (piece + 1) // pieces
            if first < end:
                yield before + first, Batch(batch.bucket, batch.reads[first:end])
        before += count


def batches_per_epoch(groups: Sequence[Group], repeats: Sequence[int]) -> int:
    """How many batches every epoch has."""
    return sum(-(-group.reads(repeats) // group.batch_size) for group in groups)
