"""Kept text states: once per caption, and the same after a resume, to the last bit."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tehon.data.feed.texts import BLOCK_STEPS, FreshTexts, KeptTexts, Text, block_for


class Encoder:
    """States that depend on the caption, and, like rounding does, on the company."""

    def __init__(self, places: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.places = places

    def __call__(self, captions: Sequence[str]) -> Text:
        self.calls.append(list(captions))
        company = hash(tuple(captions)) % 1000 / 1e6
        states = torch.tensor([[[len(caption) + company]] * 3 for caption in captions], requires_grad=True)
        counts = torch.tensor([[n < len(caption) for n in range(3)] for caption in captions])
        return {"states": states * 2} | ({"places": counts} if self.places else {})

    @property
    def captions(self) -> list[str]:
        return [caption for call in self.calls for caption in call]


def shuffled(step: int) -> list[str]:
    """Captions that differ at every step."""
    return [f"caption {step}", f"caption {step // 2}"]


def test_every_caption_of_a_run_is_encoded_once() -> None:
    captions = [f"{n:b}" for n in range(40)]
    encode = Encoder()
    texts = KeptTexts(encode, lambda step: captions[step % 7 :: 7], steps=100, block=100)
    for step in range(100):
        texts.prepare(step)
        texts.read(captions[step % 7 :: 7])
    assert sorted(encode.captions) == sorted(captions)
    assert max(len(call) for call in encode.calls) == 16


@given(st.integers(0, 199))
def test_a_resumed_run_reads_the_bits_of_the_straight_one(start: int) -> None:
    straight = KeptTexts(Encoder(), shuffled, steps=200, block=BLOCK_STEPS)
    states: list[torch.Tensor] = []
    for step in range(200):
        straight.prepare(step)
        states.append(straight.read(shuffled(step))["states"])
    resumed = KeptTexts(Encoder(), shuffled, steps=200, block=BLOCK_STEPS)
    for step in range(start, min(start + 3, 200)):
        resumed.prepare(step)
        assert torch.equal(resumed.read(shuffled(step))["states"], states[step])


def test_only_the_captions_of_a_block_are_kept() -> None:
    encode = Encoder()
    texts = KeptTexts(encode, shuffled, steps=200, block=BLOCK_STEPS)
    texts.prepare(70)
    assert set(encode.captions) == {caption for step in range(64, 128) for caption in shuffled(step)}
    before = len(encode.calls)
    texts.prepare(127)
    assert len(encode.calls) == before
    texts.prepare(128)
    assert len(encode.calls) > before


def test_rows_come_with_the_places_that_count_and_without_gradient() -> None:
    texts = KeptTexts(Encoder(places=True), lambda _: ["a", "bb"], 1, 1)
    texts.prepare(0)
    states, places = texts.read(["bb", "a", "bb"]).values()
    assert not states.requires_grad
    assert places.tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert states.shape == (3, 3, 1)


def test_a_caption_that_nobody_announced_is_encoded_by_itself() -> None:
    texts = KeptTexts(Encoder(), lambda _: ["a"], 1, 1)
    texts.prepare(0)
    assert texts.read(["other"])["states"].shape == (1, 3, 1)


@pytest.mark.parametrize(("kinds", "block"), [(10, 500), (11, BLOCK_STEPS)])
def test_few_captions_are_one_block(kinds: int, block: int) -> None:
    assert block_for(lambda step: [str(step % kinds)], 500, most=10) == block


def test_counting_captions_ends_when_there_are_too_many() -> None:
    asked: list[int] = []

    def captions(step: int) -> list[str]:
        asked.append(step)
        return shuffled(step)

    assert block_for(captions, 10**6, most=10) == BLOCK_STEPS
    assert len(asked) < 20


def test_texts_of_a_trained_encoder_are_fresh_and_carry_gradients() -> None:
    encode = Encoder()
    texts = FreshTexts(encode)
    for step in range(2):
        texts.prepare(step)
        assert texts.read(["a"])["states"].requires_grad
    assert len(encode.calls) == 2
