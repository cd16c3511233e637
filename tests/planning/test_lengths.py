"""Captions that are too long, counted as the trainer counts them."""

from pathlib import Path
from typing import Any

import pytest

from tehon.catalog.detect import demo_folder
from tehon.planning.lengths import _vocabulary, overlong_captions
from tehon.planning.plan import Plan, make_plan
from tehon.settings.files import validate

Tree = dict[str, Any]


def planned(tree: Tree, caption: str, **text: Any) -> Plan:
    Path(tree["data"]["folder"], "3_blue", "02.txt").write_text(caption, "utf8")
    return make_plan(validate(tree | {"text": text}))


@pytest.mark.parametrize(
    "caption",
    ["a red star, " * 30, "猫と犬、" * 40, "It's 10:30 — café! " * 12, "UPPER   and\tblanks " * 20, "x" * 300],
)
def test_tokens_are_counted_as_transformers_counts_them(tree: Tree, caption: str) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(demo_folder() / "tokenizer")
    count = len(tokenizer(caption.strip(), add_special_tokens=False)["input_ids"])
    assert count > 75
    found = list(overlong_captions(planned(tree, caption)))
    assert [(name, more) for name, more, _ in found] == [("02.png", count - 75)]
    cut = found[0][2]
    assert caption.strip().endswith(cut)
    kept = caption.strip().removesuffix(cut)
    assert len(tokenizer(kept, add_special_tokens=False)["input_ids"]) in (75, 76)


def test_a_caption_within_the_limit_is_none_of_them(tree: Tree) -> None:
    long = "a red star, " * 30
    assert list(overlong_captions(planned(tree, long, max_token_length=225))) == []
    assert list(overlong_captions(planned(tree, "a red star"))) == []
    assert list(overlong_captions(planned(tree, long, weighted_captions=True))) == []


def test_a_model_without_a_vocabulary_stops_no_plan(tmp_path: Path) -> None:
    assert _vocabulary(tmp_path) is None


def test_prefix_and_suffix_count(tree: Tree) -> None:
    tree["data"]["caption_suffix"] = "a very long suffix, " * 20
    assert len(list(overlong_captions(planned(tree, "a cat")))) == 3


def test_letters_of_many_bytes_count_in_the_suffix_too(tree: Tree) -> None:
    tree["data"]["caption_suffix"] = "猫" * 30
    assert len(list(overlong_captions(planned(tree, "a cat")))) == 3
