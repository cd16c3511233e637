"""What is known of many pictures, as columns."""

from hypothesis import given
from hypothesis import strategies as st

from tehon.data.plan.measurements import DIGEST, Measured, Measurements

SIDES = st.integers(1, 2**32 - 1)
FLAGS, DIGESTS = st.booleans(), st.binary(min_size=DIGEST, max_size=DIGEST)
SOUND = st.builds(Measured, st.tuples(SIDES, SIDES), DIGESTS, FLAGS, FLAGS, st.just(""))


def columns_of(pictures: list[Measured]) -> Measurements:
    count = len(pictures)
    found = Measurements([(0, 0)] * count, [b""] * count, bytearray(count), bytearray(count))
    for number, one in enumerate(pictures):
        found[number] = one
    return found


def rows_of(columns: Measurements) -> list[Measured]:
    return [columns[number] for number in range(len(columns.sizes))]


@given(st.lists(SOUND))
def test_sound_pictures_come_back_from_their_bytes(pictures: list[Measured]) -> None:
    assert rows_of(Measurements.unpacked(columns_of(pictures).packed())) == pictures


def test_no_bytes_are_no_pictures() -> None:
    assert rows_of(Measurements.unpacked(b"")) == []


def test_equal_sizes_are_one_object() -> None:
    pictures = [Measured((300, 400), bytes([number]) * DIGEST) for number in range(3)]
    sizes = Measurements.unpacked(columns_of(pictures).packed()).sizes
    assert sizes[0] is sizes[1] is sizes[2]


@given(st.lists(SOUND, min_size=1), st.data())
def test_a_selection_has_its_pictures_in_order_and_nothing_for_those_not_known(
    pictures: list[Measured], data: st.DataObject
) -> None:
    numbers = data.draw(st.lists(st.integers(-1, len(pictures) - 1)))
    chosen = rows_of(columns_of(pictures).select(numbers))
    assert chosen == [pictures[number] if number >= 0 else Measured() for number in numbers]


def test_a_broken_picture_has_its_reason() -> None:
    columns = columns_of([Measured((1, 2), b"x" * DIGEST), Measured(error="broken")])
    assert columns[1] == Measured(error="broken")
    assert columns.errors == {1: "broken"}
