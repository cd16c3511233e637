"""Crop, mirroring and colour of one reading."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tehon.data.plan.buckets import BucketRule
from tehon.data.plan.variation import Look, LookRules, look_at, stream_of
from tehon.messages.problem import Problem

PLACE = BucketRule((64, 64), 64, 64, 64, upscale=True).place((96, 64))
ALL = LookRules(random_crop=True, flip=True, colour=True)


def looks(rules: LookRules, count: int = 1000) -> list[Look]:
    return [look_at(PLACE, rules, stream_of(1, 0, picture, 0)) for picture in range(count)]


def test_without_rules_the_middle_is_seen_as_it_is() -> None:
    assert set(looks(LookRules(), 20)) == {Look(crop=(16, 0))}


def test_half_of_all_readings_are_mirrored() -> None:
    assert abs(sum(look.flip for look in looks(LookRules(flip=True))) - 500) < 75


def test_a_random_crop_is_any_piece_alike() -> None:
    found = Counter(look.crop for look in looks(LookRules(random_crop=True), 3300))
    assert set(found) == {(left, 0) for left in range(33)}
    assert all(50 < count < 160 for count in found.values())


def test_a_third_is_shifted_half_in_hue_and_half_in_gamma() -> None:
    shifts = [look.shift for look in looks(LookRules(colour=True), 3000) if look.shift]
    assert abs(len(shifts) - 990) < 120
    hues = [shift.hue for shift in shifts if shift.gamma == 1]
    gammas = [shift.gamma for shift in shifts if shift.hue == 0]
    assert len(hues) + len(gammas) == len(shifts)
    assert abs(len(hues) - len(gammas)) < 140
    assert -16 <= min(hues) < -15
    assert 15 < max(hues) <= 16
    assert 0.95 <= min(gammas) < 0.955
    assert 1.045 < max(gammas) <= 1.05


@given(
    width=st.integers(8, 3000),
    height=st.integers(8, 3000),
    steps=st.sampled_from([8, 64]),
    upscale=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_crop_lies_inside_the_scaled_picture(width: int, height: int, steps: int, upscale: bool, seed: int) -> None:
    try:
        place = BucketRule((512, 512), steps, 256, 1024, upscale=upscale).place((width, height))
    except Problem:
        return
    look = look_at(place, ALL, stream_of(seed, 0, 0, 0))
    for side in (0, 1):
        assert 0 <= look.crop[side] <= place.resized[side] - place.bucket[side]


@given(
    seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 999), picture=st.integers(0, 10**6), repeat=st.integers(0, 99)
)
def test_each_purpose_has_draws_of_its_own(seed: int, epoch: int, picture: int, repeat: int) -> None:
    """Switching one augmentation on leaves the others as they were."""
    streams = stream_of(seed, epoch, picture, repeat)
    both = look_at(PLACE, ALL, streams)
    assert both == look_at(PLACE, ALL, stream_of(seed, epoch, picture, repeat))
    assert look_at(PLACE, LookRules(random_crop=True), streams) == Look(both.crop)
    assert look_at(PLACE, LookRules(flip=True), streams) == Look((16, 0), both.flip)
    assert look_at(PLACE, LookRules(colour=True), streams) == Look((16, 0), False, both.shift)


def test_the_same_numbers_give_the_same_look_on_every_machine() -> None:
    """Saved runs go on with the looks that they began with, so the draws themselves are part of the contract."""
    found = [look_at(PLACE, ALL, stream_of(5, 0, picture, 0)) for picture in range(6)]
    shifts = [look.shift and (round(look.shift.hue, 6), round(look.shift.gamma, 6)) for look in found]
    assert [(look.crop[0], look.flip, shift) for look, shift in zip(found, shifts, strict=True)] == [
        (22, True, None),
        (22, True, None),
        (23, False, None),
        (30, True, (0.0, 0.982819)),
        (31, True, None),
        (30, True, None),
    ]
