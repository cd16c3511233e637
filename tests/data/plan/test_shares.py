"""Regularisation pictures in balance, and the share that is held out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tehon.data.plan.shares import balanced, held_out


@pytest.mark.parametrize(
    ("repeats", "wanted", "expected"),
    [
        ([1, 1, 1], 20, [7, 7, 6]),  # run in sd-scripts: 20 readings to learn, 3 regularisation pictures
        ([1, 1, 1], 2, [1, 1, 0]),
        ([5, 5, 5], 12, [5, 5, 5]),  # the one that crosses the line keeps its own repeats
        ([5, 5, 5], 10, [5, 5, 0]),
        ([3, 1], 10, [6, 4]),
        ([4], 2, [4]),
        ([], 7, []),
        ([2, 2], 4, [2, 2]),
    ],
)
def test_regularisation_pictures_are_counted_as_in_sd_scripts(
    repeats: list[int], wanted: int, expected: list[int]
) -> None:
    assert balanced(repeats, wanted) == expected


def in_rounds(repeats: list[int], wanted: int) -> list[int]:
    """The same by walking the pictures, as it is described."""
    found, total, first = [0] * len(repeats), 0, True
    while True:
        for number, own in enumerate(repeats):
            if total >= wanted:
                return found
            step = own if first else 1
            found[number] += step
            total += step
        first = False


@given(repeats=st.lists(st.integers(1, 9), min_size=1, max_size=8), wanted=st.integers(0, 200))
def test_it_is_the_walk_that_sd_scripts_makes(repeats: list[int], wanted: int) -> None:
    assert balanced(repeats, wanted) == in_rounds(repeats, wanted)


contents = st.lists(st.binary(min_size=1, max_size=2), min_size=2, max_size=30)


@given(digests=contents, share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
def test_a_share_is_held_out_but_never_all_and_equal_pictures_stay_together(
    digests: list[bytes], share: float, seed: int
) -> None:
    out = held_out(digests, share, seed)
    distinct = set(digests)
    chosen = {digests[number] for number in out}
    expected = min(len(distinct) - 1, max(1, int(share * len(distinct) + 0.5))) if len(distinct) > 1 else 0
    assert len(chosen) == expected
    assert out == {number for number, digest in enumerate(digests) if digest in chosen}


def test_who_is_held_out_depends_on_content_and_seed_and_not_on_the_order() -> None:
    digests = [bytes([number]) for number in range(40)]
    first = {digests[number] for number in held_out(digests, 0.25, 1)}
    turned = digests[::-1]
    assert {turned[number] for number in held_out(turned, 0.25, 1)} == first
    assert {digests[number] for number in held_out(digests, 0.25, 2)} != first
    more = [*digests, b"new"]
    assert len(first - {more[number] for number in held_out(more, 0.25, 1)}) <= 1
    assert held_out(digests, 0, 1) == set()
