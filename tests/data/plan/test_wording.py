"""What a caption becomes at one reading, step by step, and that no step changes what another one draws."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tehon.data.plan.variation import stream_of
from tehon.data.plan.wording import Wording, is_dropped, longest, plain, worded

TAGS = "a, b, c, d, e, f, g, h"


def read(caption: str, seed: int = 1, epoch: int = 0, picture: int = 0, repeat: int = 0, **rules: Any) -> str:
    return worded(caption, Wording(**rules), stream_of(seed, epoch, picture, repeat), epoch)


def reads(caption: str, count: int = 400, **rules: Any) -> list[str]:
    return [read(caption, picture=picture, **rules) for picture in range(count)]


@pytest.mark.parametrize(
    ("caption", "rules", "expected"),
    [
        ("a cat", {}, "a cat"),
        (" a ,b,, c", {}, " a ,b,, c"),
        (" a ,b,, c", {"keep": 2}, " a ,b,, c"),
        ("a cat", {"prefix": "photo of", "suffix": "at night"}, "photo of a cat at night"),
        ("", {"prefix": "photo of"}, "photo of"),
        ("a, b;;c, d", {"secondary": ";;"}, "a, b,c, d"),
        ("a. b;c. d", {"secondary": ";", "separator": "."}, "a. b.c. d"),
        ("{a|b} {{c}}", {}, "{a|b} {{c}}"),
        ("{{a|b}}", {"wildcards": True}, "{a|b}"),
        ("x {only} y", {"wildcards": True}, "x only y"),
        ("a, b ||| c, d", {"keep_mark": "|||"}, "a, b, c, d"),
        ("a, b ||| c ||| d", {"keep_mark": "|||"}, "a, b, c, d"),
        ("a, b", {"keep_mark": "|||"}, "a, b"),
    ],
)
def test_what_is_not_left_to_chance(caption: str, rules: dict[str, Any], expected: str) -> None:
    assert read(caption, **rules) == expected


def test_shuffling_keeps_every_tag_and_every_order_is_possible() -> None:
    found = Counter(reads("a, b, c", 1200, shuffle=True))
    assert set(found) == {"a, b, c", "a, c, b", "b, a, c", "b, c, a", "c, a, b", "c, b, a"}
    assert all(abs(count - 200) < 60 for count in found.values())


@pytest.mark.parametrize("keep", range(10))
def test_kept_tokens_stay_at_the_start(keep: int) -> None:
    for caption in reads(TAGS, 20, shuffle=True, tag_dropout=0.5, keep=keep):
        assert caption.split(", ")[:keep] == TAGS.split(", ")[:keep]


def test_a_prefix_counts_among_the_kept_tokens() -> None:
    assert {caption.split(", ")[0] for caption in reads(TAGS, 20, shuffle=True, keep=1, prefix="photo,")} == {"photo"}


def test_the_mark_keeps_the_start_and_the_end() -> None:
    found = reads("a, b ||| c, d, e ||| f", 60, shuffle=True, keep_mark="|||")
    assert {caption[:4] for caption in found} == {"a, b"}
    assert {caption[-1] for caption in found} == {"f"}
    assert len({caption[6:13] for caption in found}) == 6


def test_tags_are_joined_with_their_own_separator() -> None:
    assert read("b; b ;b", shuffle=True, separator=";") == "b; b; b"
    assert read("b b b", shuffle=True, separator=" ") == "b b b"


def test_a_secondary_separator_keeps_tags_together() -> None:
    assert set(reads("a;;b, c", 40, shuffle=True, secondary=";;")) == {"a,b, c", "c, a,b"}


def test_tags_are_dropped_at_the_given_rate() -> None:
    left = sum(len(caption.split(", ")) if caption else 0 for caption in reads(TAGS, 500, tag_dropout=0.25))
    assert abs(left - 3000) < 130  # 4.7 standard deviations of 4000 draws
    assert set(reads(TAGS, 5, tag_dropout=1.0)) == {""}
    assert set(reads(TAGS, 5, tag_dropout=1.0, keep=2)) == {"a, b"}


def test_captions_are_dropped_at_the_given_rate_with_prefix_and_suffix() -> None:
    found = Counter(reads("a cat", 1000, dropout=0.1, prefix="photo of"))
    assert set(found) == {"", "photo of a cat"}
    assert abs(found[""] - 100) < 45
    assert set(reads("a cat", 20, dropout=1.0)) == {""}


@pytest.mark.parametrize("every", [1, 2, 3])
def test_whole_epochs_are_dropped_counting_from_one(every: int) -> None:
    found = [is_dropped(Wording(dropout_every=every), stream_of(1, epoch, 0, 0), epoch) for epoch in range(7)]
    assert found == [number % every == 0 for number in range(1, 8)]


def test_wildcards_take_one_line_and_one_of_each_alternative() -> None:
    found = Counter(reads("a {red|blue} cat\na dog", 800, wildcards=True))
    assert set(found) == {"a red cat", "a blue cat", "a dog"}
    assert abs(found["a dog"] - 400) < 70
    assert abs(found["a red cat"] - 200) < 60


def test_every_line_has_the_prefix() -> None:
    assert set(reads("a cat\na dog", 40, wildcards=True, prefix="photo of")) == {"photo of a cat", "photo of a dog"}


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 99), repeat=st.integers(0, 9))
def test_switching_one_thing_on_changes_no_draw_of_another(seed: int, epoch: int, repeat: int) -> None:
    place = {"seed": seed, "epoch": epoch, "repeat": repeat}
    order = read(TAGS, shuffle=True, **place)
    assert read(TAGS, shuffle=True, dropout=0.5, **place) in ("", order)
    kept = read(TAGS, shuffle=True, tag_dropout=0.5, **place).split(", ")
    assert [tag for tag in order.split(", ") if tag in kept] == [tag for tag in kept if tag]
    colour = "{red|blue} cat"
    chosen = read(colour, wildcards=True, **place)
    assert read(colour, wildcards=True, dropout=0.5, **place) in ("", chosen)


@given(
    caption=st.text("ab,;{|} \n", max_size=30),
    seed=st.integers(0, 99),
    rules=st.fixed_dictionaries(
        {
            "wildcards": st.booleans(),
            "shuffle": st.booleans(),
            "keep": st.integers(0, 3),
            "tag_dropout": st.sampled_from([0.0, 0.5]),
            "keep_mark": st.sampled_from(["", ";"]),
        }
    ),
)
def test_a_reading_is_the_same_whenever_it_is_asked_for(caption: str, seed: int, rules: dict[str, Any]) -> None:
    caption = "\n".join(filter(None, map(str.strip, caption.split("\n"))))
    assert read(caption, seed=seed, **rules) == read(caption, seed=seed, **rules)


def test_validation_has_nothing_left_to_chance() -> None:
    rules = Wording("photo of", "", True, shuffle=True, tag_dropout=0.9, dropout=1.0, keep_mark="|||", secondary=";")
    assert plain("b {red|blue}, a ||| d;c\nother", rules) == "photo of b red, a, d,c"


def test_the_longest_that_a_caption_can_become() -> None:
    assert longest("a {red|bluish} cat\na dog", Wording(suffix="here", wildcards=True)) == "a bluish cat here"
    assert longest("a {red|bluish} cat", Wording()) == "a {red|bluish} cat"
    marked = Wording(keep_mark="|||", separator=",", secondary=";;;")
    assert longest("mofu ||| red;;;tall", marked) == "mofu, red,tall"
