from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tehon.data.plan.buckets import BucketRule, Size
from tehon.messages.problem import Problem


def rule_of(row: dict[str, Any]) -> BucketRule:
    return BucketRule(
        tuple(row["max_resolution"]), row["steps"], row["min_bucket"], row["max_bucket"], upscale=not row["no_upscale"]
    )


@pytest.mark.parametrize("number", range(7))
def test_places_pictures_as_sd_scripts_does(golden: Callable[[str], Any], number: int) -> None:
    row = golden("buckets")[number]
    rule = rule_of(row)
    if not row["no_upscale"]:
        assert [list(bucket) for bucket in rule.predefined] == row["buckets"]
    for picture in row["images"]:
        if picture.get("bucket") is None or 0 in picture["bucket"]:
            with pytest.raises(Problem):  # sd-scripts divides by zero here
                rule.place(tuple(picture["image"]))
            continue
        place = rule.place(tuple(picture["image"]))
        assert (list(place.bucket), list(place.resized)) == (picture["bucket"], picture["resized"]), picture["image"]
        assert place.ratio_error(tuple(picture["image"])) == pytest.approx(abs(picture["ar_error"]), abs=1e-8)


def test_without_buckets_every_picture_covers_the_resolution() -> None:
    rule = BucketRule((512, 512), 64, 256, 1024, upscale=True, enabled=False)
    place = rule.place((1536, 1024))
    assert (place.bucket, place.resized, place.crop) == ((512, 512), (768, 512), (128, 0))


def test_a_resolution_outside_the_side_limits_is_named() -> None:
    rule = BucketRule((128, 128), 64, 256, 1024, upscale=True)
    with pytest.raises(Problem, match="between 256 and 1024"):
        rule.place((100, 100))


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((40, 200), (40, 192)), ((200, 63), (192, 56)), ((8, 8), (8, 8)), ((4000, 100), (2560, 64)), ((64, 63), (64, 56))],
)
def test_a_picture_smaller_than_a_step_keeps_its_size_but_for_the_latents(size: Size, bucket: Size) -> None:
    assert BucketRule((512, 512), 64, 256, 1024, upscale=False).place(size).bucket == bucket


sides = st.integers(8, 4000)


@given(width=sides, height=sides, upscale=st.booleans(), steps=st.sampled_from([8, 32, 64]))
def test_the_crop_lies_inside_the_scaled_picture(width: int, height: int, upscale: bool, steps: int) -> None:
    rule = BucketRule((512, 512), steps, 256, 1024, upscale=upscale)
    try:
        place = rule.place((width, height))
    except Problem:  # a strip so thin that its short side shrinks to nothing
        assert not upscale
        assert min(width, height) * 512 / sqrt(width * height) < 2 * 8
        return
    left, top = place.crop
    assert left >= 0
    assert top >= 0
    assert left + place.bucket[0] <= place.resized[0]
    assert top + place.bucket[1] <= place.resized[1]
    assert all(side % steps == 0 or (side < steps and side % 8 == 0) for side in place.bucket)
    if not upscale:
        assert place.resized[0] <= width
        assert place.resized[1] <= height
