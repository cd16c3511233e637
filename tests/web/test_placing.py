"""The page has a place for every setting."""

from collections import Counter

from tehon.messages.catalogue import sentences
from tehon.settings.fields import fields
from tehon.web.placing import FILES, FOLDERS, GROUPS, LONG
from tehon.web.presets import ADDITIONS, PRESETS

NAMES = [field.name for field in fields()]


def test_every_setting_stands_on_the_page_exactly_once() -> None:
    placed = Counter(name for group in GROUPS for name in group.all)
    assert placed == Counter(NAMES)


def test_every_setting_has_a_label_and_a_help_in_both_languages() -> None:
    for language in ("en", "ja"):
        said = sentences(language)
        assert [name for name in NAMES if not said.get(f"label.{name}")] == []
    assert [name for name in NAMES if not sentences("ja").get(f"help.{name}")] == []
    assert [field.name for field in fields() if not field.help] == []
    assert sorted(key for key in sentences("en") if key.startswith("label.")) == sorted(f"label.{n}" for n in NAMES)


def test_no_two_settings_of_a_card_have_the_same_label() -> None:
    for language in ("en", "ja"):
        for group in GROUPS:
            labels = Counter(sentences(language)[f"label.{name}"] for name in group.all)
            assert max(labels.values()) == 1, (group.name, labels.most_common(1))


def test_pickers_and_presets_name_settings_that_exist() -> None:
    assert {*FOLDERS, *FILES, *LONG} <= set(NAMES)
    for values in (*PRESETS.values(), *ADDITIONS.values()):
        assert values.keys() <= set(NAMES)


def test_no_preset_touches_the_model_the_folders_or_the_output() -> None:
    touched = {name for values in (*PRESETS.values(), *ADDITIONS.values()) for name in values}
    assert [name for name in touched if name in FOLDERS or name.startswith(("model.", "output."))] == []
