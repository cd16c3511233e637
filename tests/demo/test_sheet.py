"""The sheets: their sizes, the pictures in their places, and refusals of half-filled grids."""

import numpy as np
import pytest
from PIL import Image

from tehon.demo.sheet import album, before_after

INKS = ((200, 30, 40), (20, 120, 60), (30, 60, 200), (240, 200, 30))


def _flat(ink: tuple[int, int, int], side: int = 128) -> Image.Image:
    return Image.new("RGB", (side, side), ink)


def _boxes(page: Image.Image, ink: tuple[int, int, int]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((np.asarray(page) == ink).all(-1))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_before_after_hangs_each_picture_twice_as_large_in_its_place() -> None:
    grid = [[_flat(INKS[0]), _flat(INKS[1])], [_flat(INKS[2]), _flat(INKS[3])]]
    page = before_after(["base", "LoRA 1.0"], ["mofu", "a red star on a mint background"], grid)
    assert page.mode == "RGB"
    assert page.size == (810, 632)
    first, right, below, last = (_boxes(page, ink) for ink in INKS)
    assert [(box[2] - box[0], box[3] - box[1]) for box in (first, right, below, last)] == [(256, 256)] * 4
    assert right[:2] == (first[0] + 266, first[1])
    assert below[:2] == (first[0], first[1] + 266)
    assert last[:2] == (right[0], below[1])
    assert min(page.getpixel((1, 1))) > 240  # pyright: ignore[reportArgumentType]


def test_before_after_enlarges_with_lanczos() -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    page = np.asarray(before_after(["base"], ["mofu"], [[noisy]]))
    large = np.asarray(noisy.resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(page[70:134, 248:312], large)


def test_prompts_are_written_and_long_ones_make_room() -> None:
    empty = np.asarray(before_after(["base"], [""], [[_flat(INKS[0])]]))
    short = np.asarray(before_after(["base"], ["mofu"], [[_flat(INKS[0])]]))
    assert (empty != short)[:, :248].any()
    assert not (empty != short)[:, 248:].any()
    long = before_after(["base"], ["w" * 70 + " on a background" * 12], [[_flat(INKS[0])]])
    assert long.height > len(empty)
    assert not (np.asarray(long)[:, 230:247] < 200).any()


def test_a_half_filled_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="full grid"):
        before_after(["base", "LoRA"], ["mofu"], [[_flat(INKS[0])]])
    with pytest.raises(ValueError, match="one caption for each"):
        album([_flat(INKS[0])], [], 3)


def test_album_fills_rows_and_leaves_the_last_one_short() -> None:
    page = album([_flat(ink, 64) for ink in INKS[:3]], ["one", "two", "three"], 2)
    first, second, third = (_boxes(page, ink) for ink in INKS[:3])
    assert (first[2] - first[0], first[3] - first[1]) == (128, 128)
    assert second[1] == first[1]
    assert second[0] == first[2] + 20
    assert third[0] == first[0]
    assert third[1] > first[3] + 20
    assert page.width == 2 * 40 + 2 * 128 + 20
    assert album([_flat(INKS[0])], ["one"], 8).width == 2 * 40 + 256
