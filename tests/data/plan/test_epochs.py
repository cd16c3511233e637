"""The order of an epoch: complete, in batches of one bucket, and a function of (seed, epoch) alone."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tehon.data.plan.buckets import Size
from tehon.data.plan.epochs import Batch, Group, Read, batches_per_epoch, epoch_batches

Buckets = dict[Size, list[int]]
SIDES = [(64, 64), (96, 64), (64, 96), (128, 128)]


def filed(places: list[Size]) -> Buckets:
    buckets: Buckets = {}
    for number, place in enumerate(places):
        buckets.setdefault(place, []).append(number)
    return buckets


def order(buckets: Buckets, repeats: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[Batch]:
    return epoch_batches(groups_of(buckets, batch_size), repeats, seed, epoch)


def groups_of(buckets: Buckets, batch_size: int) -> list[Group]:
    return [Group(bucket, batch_size, tuple(buckets[bucket])) for bucket in sorted(buckets)]


@st.composite
def albums(draw: st.DrawFn) -> tuple[Buckets, list[int]]:
    places = draw(st.lists(st.sampled_from(SIDES), min_size=1, max_size=16))
    repeats = draw(st.lists(st.integers(1, 6), min_size=len(places), max_size=len(places)))
    return filed(places), repeats


unhurried = settings(deadline=None)
whole: dict[str, Any] = {
    "album": albums(),
    "batch_size": st.integers(1, 9),
    "seed": st.integers(0, 2**32 - 1),
    "epoch": st.integers(0, 1000),
}
Album = tuple[Buckets, list[int]]


@unhurried
@given(**whole)
def test_every_picture_is_read_as_often_as_its_repeats(album: Album, batch_size: int, seed: int, epoch: int) -> None:
    buckets, repeats = album
    batches = order(buckets, repeats, batch_size, seed, epoch)
    reads = Counter(read for batch in batches for read in batch.reads)
    assert reads == Counter(Read(picture, n) for picture, count in enumerate(repeats) for n in range(count))


@unhurried
@given(**whole)
def test_a_batch_is_of_one_bucket_and_only_the_last_of_a_bucket_is_short(
    album: Album, batch_size: int, seed: int, epoch: int
) -> None:
    buckets, repeats = album
    batches = order(buckets, repeats, batch_size, seed, epoch)
    assert all(read.picture in buckets[batch.bucket] for batch in batches for read in batch.reads)
    for bucket, members in buckets.items():
        lengths = sorted((len(batch.reads) for batch in batches if batch.bucket == bucket), reverse=True)
        full, rest = divmod(sum(repeats[picture] for picture in members), batch_size)
        assert lengths == [batch_size] * full + [rest] * (rest > 0)
    assert len(batches) == batches_per_epoch(groups_of(buckets, batch_size), repeats)


@unhurried
@given(**whole)
def test_the_order_depends_on_seed_and_epoch_alone(album: Album, batch_size: int, seed: int, epoch: int) -> None:
    buckets, repeats = album
    first = order(buckets, repeats, batch_size, seed, epoch)
    random.random()
    order(buckets, repeats, batch_size, seed, epoch + 1)
    assert order(dict(reversed(buckets.items())), tuple(repeats), batch_size, seed, epoch) == first


def test_the_same_numbers_give_the_same_order_on_every_machine() -> None:
    """Saved runs go on in the order that they began with, so the order itself is part of the contract."""
    batches = order(filed([SIDES[0], SIDES[1], SIDES[0]]), [2, 2, 3], batch_size=2, seed=5, epoch=0)
    assert [[(read.picture, read.repeat) for read in batch.reads] for batch in batches] == [
        [(0, 0), (0, 1)],
        [(2, 2), (2, 1)],
        [(1, 0), (1, 1)],
        [(2, 0)],
    ]


def test_another_epoch_or_seed_has_another_order() -> None:
    buckets, repeats = filed([SIDES[0]] * 6 + [SIDES[1]] * 6), [3] * 12
    orders = [order(buckets, repeats, 2, seed, epoch) for seed, epoch in [(1, 0), (1, 1), (2, 0), (2, 1)]]
    assert all(orders[a] != orders[b] for a in range(4) for b in range(a))


def test_pictures_change_company_from_epoch_to_epoch() -> None:
    buckets, repeats = filed([SIDES[0]] * 12), [1] * 12
    groups = [{frozenset(batch.reads) for batch in order(buckets, repeats, 3, 1, epoch)} for epoch in (0, 1)]
    assert groups[0] != groups[1]


def test_buckets_are_mixed_and_not_read_one_after_the_other() -> None:
    buckets, repeats = filed([SIDES[0]] * 10 + [SIDES[1]] * 10), [1] * 20
    places = [batch.bucket for batch in order(buckets, repeats, 1, seed=1, epoch=0)]
    assert sum(a != b for a, b in pairwise(places)) > 3


def test_every_order_is_about_as_likely() -> None:
    """Over 600 epochs each of three pictures comes first about 200 times; 4.5 standard deviations are 52."""
    first = Counter(order(filed([SIDES[0]] * 3), [1] * 3, 3, 9, epoch)[0].reads[0].picture for epoch in range(600))
    assert all(abs(first[picture] - 200) < 52 for picture in range(3))


def test_groups_of_one_size_with_other_rules_share_no_batch() -> None:
    groups = [Group(SIDES[0], 4, (0, 1, 2)), Group(SIDES[0], 2, (3, 4, 5))]
    batches = epoch_batches(groups, [2] * 6, seed=1, epoch=0)
    found = sorted((sorted({read.picture for read in batch.reads}), len(batch.reads)) for batch in batches)
    assert all(set(pictures) <= {0, 1, 2} or set(pictures) <= {3, 4, 5} for pictures, _ in found)
    assert sorted(length for _, length in found) == [2, 2, 2, 2, 4]
