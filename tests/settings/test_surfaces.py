"""Every setting explains itself in every language."""

import re
from typing import Any, get_args

import pytest

from tehon.messages.catalogue import sentences
from tehon.settings.fields import SettingField, fields
from tehon.settings.settings import Settings

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
NAMES = [field.name for field in fields()]


def field_named(name: str) -> SettingField:
    return next(field for field in fields() if field.name == name)


def test_fields_are_all_fields_of_all_sections() -> None:
    sections: list[tuple[str, Any]] = [(name, outer.annotation) for name, outer in Settings.model_fields.items()]
    assert [f"{section}.{field}" for section, model in sections for field in model.model_fields] == NAMES
    assert len(NAMES) > 30


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_help_in_english_and_japanese(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = field_named(name)
    english = field.help
    assert english[0].isupper()
    assert english.endswith(".")
    assert not JAPANESE.search(english)
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert JAPANESE.search(field.help)
    assert field.help.endswith("。")


def test_there_is_no_japanese_help_for_fields_that_do_not_exist() -> None:
    helped = [key.removeprefix("help.") for key in sentences("ja") if key.startswith("help.")]
    assert sorted(helped) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_says_what_it_expects_in_both_languages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = field_named(name)
    english = field.expected
    monkeypatch.setenv("TEHON_LANG", "ja")
    japanese = field.expected
    assert not JAPANESE.search(english)
    assert JAPANESE.search(japanese)
    assert not set("{}<>") & set(english + japanese)
    numbers = re.compile(r"\d+")
    stated = set(numbers.findall(english)) - set(numbers.findall(japanese))
    assert stated == set(), "both languages state the same limits"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model.path", "text"),
        ("network.rank", "a whole number, at least 1"),
        ("network.alpha", "a number, above 0"),
        ("optimizer.unet_lr", "a number, at least 0"),
        ("optimizer.lr_warmup", "a number, at least 0, at most 100"),
        ("data.bucket_reso_steps", "a whole number, at least 8, a multiple of 8"),
        ("data.resolution", "a whole number or a list of two whole numbers, at least 8"),
        ("data.enable_bucket", "true or false"),
        ("training.seed", "a whole number, at least 0, below 4294967296"),
        ("output.save_precision", "one of float, fp16, bf16"),
        ("output.name", "a file name without slashes, colons and other special characters"),
    ],
)
def test_what_a_field_expects_is_said_in_words(name: str, sentence: str) -> None:
    assert field_named(name).expected == sentence


def test_a_choice_names_all_that_can_be_chosen() -> None:
    field = field_named("optimizer.lr_scheduler")
    assert all(choice in field.expected for choice in get_args(field.info.annotation))
