"""The judge of the small model's pictures, measured on drawn ones: right readings, and a wide gap for the concept."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tehon.demo.judge import agreement, concept_score, read_thing, separation
from tehon.demo.mofu import pictures
from tehon.demo.scenes import Scene, finish, paint_background, scene

Pixels = NDArray[np.uint8]


@cache
def _single_things() -> tuple[tuple[Scene, Image.Image], ...]:
    scenes = [found for found in (scene(7, number) for number in range(320)) if len(found.things) == 1][:200]
    return tuple((found, found.draw()) for found in scenes)


def _worn(picture: Image.Image, seed: int) -> Pixels:
    """Blurred, tinted and noisy, as a small model draws."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.3))).astype(float)
    pixels = pixels + rng.normal(0, 10, (1, 1, 3)) + rng.normal(0, 8, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _wanted(found: Scene) -> tuple[str, str]:
    return found.things[0].colour, found.things[0].shape


def test_reads_drawn_things() -> None:
    drawn = _single_things()
    assert len(drawn) == 200
    right = [read_thing(np.asarray(picture)) == _wanted(found) for found, picture in drawn]
    assert np.mean(right) >= 0.97


def test_reads_worn_things() -> None:
    some = _single_things()[:60]
    share = agreement(np.stack([_worn(p, n) for n, (_, p) in enumerate(some)]), [_wanted(found) for found, _ in some])
    assert share.both >= 0.93
    assert share.colour >= 0.95
    assert share.shape >= 0.95


@pytest.mark.parametrize("texture", ["plain", "striped", "dotted", "checkered"])
@pytest.mark.parametrize("background", ["white", "gray", "black", "navy"])
def test_reads_nothing_where_nothing_is(background: str, texture: str) -> None:
    assert read_thing(np.asarray(finish(paint_background(background, texture, 9)))) is None


def test_agreement_counts_colour_and_shape_apart() -> None:
    drawn = _single_things()[:4]
    (first, second), stack = ("red", "star"), np.stack([np.asarray(picture) for _, picture in drawn])
    wanted = [_wanted(found) for found, _ in drawn]
    assert agreement(stack, wanted) == (1.0, 1.0, 1.0)
    wanted[0] = ("red" if wanted[0][0] != first else "blue", wanted[0][1])
    wanted[1] = (wanted[1][0], "star" if wanted[1][1] != second else "ring")
    assert agreement(stack, wanted) == (0.5, 0.75, 0.75)
    with pytest.raises(ValueError, match="wanted: 3 pairs for 4 pictures"):
        agreement(stack, wanted[:3])


def test_the_concept_score_leaves_a_wide_gap() -> None:
    drawn = [picture for _, picture, _ in pictures(16)]
    slim = [np.pad(np.asarray(picture.resize((115, 128))), ((0, 0), (6, 7), (0, 0)), "edge") for picture in drawn]
    mofu = concept_score(np.stack([np.asarray(picture) for picture in drawn]))
    worn = concept_score(np.stack([_worn(picture, number) for number, picture in enumerate(drawn)]))
    mirrored = concept_score(np.stack([np.asarray(picture)[:, ::-1] for picture in drawn]))
    narrow = concept_score(np.stack(slim))
    scenes = concept_score(np.stack([np.asarray(scene(5, number).draw()) for number in range(60)]))
    assert min(mofu.min(), worn.min(), mirrored.min()) > 0.85
    assert narrow.min() > 0.8
    assert scenes.max() < 0.5
    assert scenes.min() >= 0.0
    assert mofu.mean() - scenes.mean() > 0.6


def test_the_concept_score_of_flat_pictures_is_nothing() -> None:
    flat = np.stack([np.full((128, 128, 3), tone, np.uint8) for tone in (0, 120, 255)])
    assert concept_score(flat) == pytest.approx([0.0] * 3, abs=1e-6)


def test_separation_gives_the_textbook_figures() -> None:
    base, adapted = np.array([0.1, 0.2, 0.3, 0.2]), np.array([0.8, 0.9, 0.9, 1.0])
    found = separation(base, adapted)
    assert found["base_mean"] == pytest.approx(0.2)
    assert found["adapted_mean"] == pytest.approx(0.9)
    assert (found["base_count"], found["adapted_count"]) == (4, 4)
    assert found["base_deviation"] == pytest.approx(np.std(base, ddof=1))
    assert found["difference"] == pytest.approx(0.7)
    assert found["d"] == pytest.approx(0.7 / np.sqrt(0.02 / 3))
    assert found["z"] == pytest.approx(0.7 / np.sqrt(2 * 0.02 / 3 / 4))


def test_separation_of_equal_groups_and_of_too_few() -> None:
    same = np.full(5, 0.4)
    assert separation(same, same)["z"] == 0.0
    assert separation(same, same)["d"] == 0.0
    assert np.isfinite(separation(same, same + 0.5)["z"])
    with pytest.raises(ValueError, match="at least two"):
        separation(np.array([0.1]), same)
