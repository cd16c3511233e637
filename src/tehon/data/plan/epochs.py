"""The order in which pictures are read: a function of (seed, epoch), of nothing else.

>>> order = epoch_batches(buckets={(128, 128): [0, 1]}, repeats=[2, 1], batch_size=2, seed=1, epoch=0)
>>> [[(read.picture, read.repeat) for read in batch.reads] for batch in order]
"""

from collections.abc import Mapping, Sequence
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


def epoch_batches(
    buckets: Mapping[Size, Sequence[int]], repeats: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[Batch]:
    """All batches of an epoch (counted from 0) in order. A bucket's last batch may be short; none is dropped."""
    rng = Random(f"order {seed} {epoch}")
    batches: list[Batch] = []
    for bucket in sorted(buckets):
        reads = [Read(picture, n) for picture in buckets[bucket] for n in range(repeats[picture])]
        rng.shuffle(reads)
        starts = range(0, len(reads), batch_size)
        batches += [Batch(bucket, tuple(reads[start : start + batch_size])) for start in starts]
    rng.shuffle(batches)
    return batches


def batches_per_epoch(buckets: Mapping[Size, Sequence[int]], repeats: Sequence[int], batch_size: int) -> int:
    """How many batches every epoch has."""
    return sum(-(-sum(repeats[picture] for picture in members) // batch_size) for members in buckets.values())
