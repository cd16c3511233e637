from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from tehon.catalog.detect import demo_folder
from tehon.families.prompts import overlong, parse_weights, token_chunks, weighted_chunks

CLIP = Path(__file__).parents[1] / "golden" / "clip"


def words_of(tokenizer: Any) -> Callable[[str], list[int]]:
    return lambda text: tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def test_tokens_are_those_of_sd_scripts(golden: Callable[[str], Any]) -> None:
    words = words_of(CLIPTokenizer.from_pretrained(CLIP))
    for row in golden("tokens"):
        pad = 49407 if row["pad"] == "<|endoftext|>" else 0
        layout = (row["max_token_length"] // 75, 49406, 49407, pad)
        assert token_chunks(words, row["caption"], *layout) == row["ids"], row["caption"]
        ids, weights = weighted_chunks(words, row["caption"], *layout)
        assert ids == row["weighted_ids"], row["caption"]
        flat = [weight for chunk in weights for weight in chunk]
        assert flat == pytest.approx([weight for chunk in row["weights"] for weight in chunk]), row["caption"]


def test_rows_have_the_layout_of_the_golden_ones_with_any_vocabulary(golden: Callable[[str], Any]) -> None:
    """The golden rows rebuilt from their inner ids: start, ids, end and padding stand where sd-scripts puts them."""
    for row in golden("tokens"):
        pad = 49407 if row["pad"] == "<|endoftext|>" else 0
        chunks = row["max_token_length"] // 75
        inner = [id for chunk in row["ids"] for id in chunk[1:-1]]
        end = next((i for i, id in enumerate(inner) if id in (49407, pad)), len(inner))
        assert token_chunks(lambda _, ids=inner[:end]: ids, "", chunks, 49406, 49407, pad) == row["ids"]


def test_the_demo_vocabulary_is_padded_as_its_own_tokenizer_pads() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(demo_folder() / "tokenizer")
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    for caption in ("", "a red star on a mint background", "mofu", "日本 été!"):
        own = tokenizer(caption, padding="max_length", truncation=True, max_length=77).input_ids
        assert token_chunks(words_of(tokenizer), caption, 1, *ends) == [own]


def test_overlong_counts_what_is_cut_off() -> None:
    words = words_of(CLIPTokenizer.from_pretrained(demo_folder() / "tokenizer"))
    assert overlong(words, "red " * 75 + "a star", 1) == words("a star")
    assert overlong(words, "red " * 75, 1) == []
    assert overlong(words, "red " * 151, 2) == words("red")


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("a (b:1.3) c", [("a ", 1.0), ("b", 1.3), (" c", 1.0)]),
        ("((a))", [("a", 1.1 * 1.1)]),
        ("[a]", [("a", 1 / 1.1)]),
        (r"\(a\)", [("(a)", 1.0)]),
        ("(a", [("a", 1.1)]),
        ("(a:.5)(b:1.)", [("a", 0.5), ("b", 1.0)]),
        ("(a:...)", [("a:...", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:.)", [("a:.", 1.1)]),
        ("", [("", 1.0)]),
    ],
)
def test_emphasis(text: str, runs: list[tuple[str, float]]) -> None:
    assert [part for part, _ in parse_weights(text)] == [part for part, _ in runs]
    assert [weight for _, weight in parse_weights(text)] == pytest.approx([weight for _, weight in runs])
