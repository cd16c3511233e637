"""The form's values: what was set, what is wrong, and the way to TOML and back."""

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tehon.messages.problem import Problem
from tehon.settings.fields import SettingField, fields
from tehon.settings.files import parse_toml, validate
from tehon.web.draft import Draft
from tehon.web.presets import ADDITIONS, PRESETS, preset_values
from tehon.web.values import as_text, from_text

FIELDS = {field.name: field for field in fields()}
NEEDED = {"model.path": "demo", "output.folder": "out", "data.folder": "pictures"}


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return Draft(tmp_path / "home" / "form.toml")


def test_only_what_differs_from_the_default_is_held(draft: Draft) -> None:
    draft.set("network.rank", 16)
    assert draft.values == {"network.rank": 16}
    assert draft.is_changed("network.rank")
    draft.set("network.rank", 8)
    assert draft.values == {}
    assert draft.get("network.rank") == 8


def test_every_change_is_on_the_disk_at_once(draft: Draft) -> None:
    draft.set("network.rank", 16)
    draft.set("samples.prompts", "an owl\nイヌ")
    assert Draft(draft.file).values == {"network.rank": 16, "samples.prompts": "an owl\nイヌ"}


def test_mistakes_stand_under_their_fields_and_empty_ones_are_named(draft: Draft) -> None:
    draft.set("network.rank", 0)
    draft.set("data.min_bucket_reso", 2048)
    checked = draft.checked()
    assert checked.settings is None
    assert set(checked.needed) == {"model.path", "output.folder", "data.folder"}
    assert checked.by_field["network.rank"] == ["network.rank: 0 does not fit; give a whole number, at least 1."]


def test_a_form_that_is_filled_in_gives_the_settings(draft: Draft) -> None:
    for name, value in NEEDED.items():
        draft.set(name, value)
    found = draft.checked().settings
    assert found is not None
    assert found.model.path == "demo"


def test_a_file_with_names_that_no_setting_has_says_which(draft: Draft) -> None:
    assert draft.replace({"network": {"rank": 4, "rang": 3}, "stray": 1}) == ["network.rang", "stray"]
    assert draft.values == {"network.rank": 4}


@pytest.mark.parametrize("additions", [(), ("sdxl",), ("low_memory",), ("sdxl", "low_memory")])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_valid_settings(draft: Draft, preset: str, additions: tuple[str, ...]) -> None:
    draft.apply(NEEDED | preset_values(preset, additions))
    assert draft.checked().by_field == {}


def test_a_preset_gives_the_same_whatever_was_chosen_before_it_and_leaves_the_rest(draft: Draft) -> None:
    draft.apply(NEEDED | {"training.seed": 7})
    draft.apply(preset_values("character"))
    alone = dict(draft.values)
    wanted = NEEDED | PRESETS["character"] | {"training.seed": 7}
    assert {name: draft.get(name) for name in wanted} == wanted
    draft.apply(preset_values("style", ["sdxl", "low_memory"]))
    wanted = PRESETS["style"] | ADDITIONS["sdxl"]
    assert {name: draft.get(name) for name in wanted} == wanted
    assert not draft.is_changed("data.keep_tokens")
    draft.apply(preset_values("character"))
    assert draft.values == alone
    draft.apply(preset_values("plain"))
    assert draft.values == NEEDED | {"training.seed": 7}


def test_what_a_preset_or_a_file_replaced_comes_back_step_by_step(draft: Draft) -> None:
    draft.apply(NEEDED)
    draft.set("network.rank", 24)
    before = dict(draft.values)
    draft.apply({"network.rank": 16, "network.alpha": 8.0, "model.path": "demo"}, "Character")
    draft.replace({"network": {"rank": 4}, "output": {"name": "owl"}}, "owl.toml")
    assert draft.replaced[-1].what == "owl.toml"
    assert draft.replaced[-2].after == {"network.rank": 16, "network.alpha": 8.0}, "no more than what it changed"
    draft.set("output.name", "barn owl")
    draft.undo()
    assert draft.values == before | {"network.rank": 16, "network.alpha": 8.0, "output.name": "barn owl"}
    draft.set("output.name", None)
    draft.undo()
    assert draft.values == Draft(draft.file).values == before


def test_a_preset_that_changes_nothing_leaves_no_way_back(draft: Draft) -> None:
    draft.set("network.rank", 16)
    assert not draft.apply({"network.rank": 16, "network.alpha": draft.get("network.alpha")}, "Character")
    assert draft.replaced == []
    draft.undo()
    assert draft.values == {"network.rank": 16}


def value_of(field: SettingField) -> st.SearchStrategy[Any]:
    """Values that a person could have set, of the types that the field has."""
    if field.info.annotation is bool:
        return st.booleans()
    if field.choices:
        return st.sampled_from([choice for choice in field.choices if choice is not None])
    found: list[st.SearchStrategy[Any]] = []
    words = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters=","), min_size=1, max_size=12)
    if int in field.kinds:
        found.append(st.integers(8, 4096))
    if float in field.kinds:
        found.append(st.floats(0.01, 100, allow_nan=False))
    if field.is_text:
        found.append(words)
    if list in field.kinds and int in field.inner_kinds:
        found.append(st.lists(st.integers(8, 512), min_size=2, max_size=3))
    if list in field.kinds and float in field.inner_kinds:
        found.append(st.lists(st.floats(0.25, 8), min_size=2, max_size=3))
    if list in field.kinds and dict in field.inner_kinds:
        found.append(st.lists(st.fixed_dictionaries({"folder": words, "repeats": st.integers(1, 9)}), min_size=1))
    if not found or str in field.inner_kinds:
        found.append(st.lists(st.sampled_from(["one", "two", "three"]), min_size=2, max_size=3))
    return st.one_of(found)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.fixed_dictionaries({name: value_of(field) for name, field in FIELDS.items()}))
def test_form_to_toml_to_form_gives_the_same(draft: Draft, values: dict[str, Any]) -> None:
    for name, value in values.items():
        field = FIELDS[name]
        shown = value if field.info.annotation is bool or field.choices else from_text(field, as_text(value))
        assert shown == value, name
    draft.apply(values)
    again = Draft(draft.file.with_name("again.toml"))
    again.replace(parse_toml(draft.toml()))
    assert again.values == draft.values
    assert {name: again.get(name) for name in values} == values


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("network.rank", "16", 16),
        ("network.rank", "sixteen", "sixteen"),
        ("network.alpha", "0.5", 0.5),
        ("optimizer.learning_rate", "1e-4", 1e-4),
        ("optimizer.unet_lr", "", None),
        ("data.resolution", "512, 768", [512, 768]),
        ("data.resolution", "512", 512),
        ("network.block_dims", "4, 8", [4, 8]),
        ("network.down_lr_weight", "sine+0.2", "sine+0.2"),
        ("network.base_weights", "one.safetensors, two.safetensors", ["one.safetensors", "two.safetensors"]),
        ("training.allow_changes", "model", ["model"]),
        ("data.caption_prefix", "a, b", "a, b"),
        ("data.caption_prefix", '"a"', '"a"'),
        ("data.folder", ' "C:\\my pictures" ', "C:\\my pictures"),
        ("model.path", '"a.safetensors"', "a.safetensors"),
        ("data.folder", " a", " a"),
    ],
)
def test_what_is_typed_becomes_the_value(name: str, text: str, value: Any) -> None:
    assert from_text(FIELDS[name], text) == value


def test_what_does_not_fit_comes_back_as_a_sentence(draft: Draft) -> None:
    draft.apply(NEEDED)
    draft.set("network.rank", from_text(FIELDS["network.rank"], "sixteen"))
    assert list(draft.checked().by_field) == ["network.rank"]
    with pytest.raises(ValueError, match=r"network\.rank"):
        validate(draft.tree())


def test_two_servers_lose_nothing_of_each_other_and_hear_of_it(draft: Draft) -> None:
    draft.set("network.rank", 16)
    other = Draft(draft.file)
    heard: list[Any] = []
    draft.watchers.append(heard.extend)
    other.set("network.alpha", 8.0)
    other.set("network.rank", None)
    draft.catch_up()
    assert heard == ["network.rank", "network.alpha"]
    assert draft.values == {"network.alpha": 8.0}
    draft.set("training.seed", 7)
    other.set("data.batch_size", 2)  # without having looked
    wanted = {"network.alpha": 8.0, "training.seed": 7, "data.batch_size": 2}
    assert Draft(draft.file).values == other.values == wanted
    draft.file.write_text("[network", "utf8")
    draft.catch_up()
    assert draft.get("training.seed") == 7


def kept_at(draft: Draft) -> Path:
    assert draft.kept is not None
    place = draft.kept[1]
    assert isinstance(place, Path)
    return place


@pytest.mark.parametrize(
    ("broken", "values"),
    [
        ("[network\nrank = 16\n", {}),
        ("[network]\nrank = 16\nrang = 4\n", {"network.rank": 16}),
        ("network = 16\n", {}),
        ('[samples]\nprompts = "\udcff"\n', {}),
    ],
)
def test_a_form_that_was_broken_by_hand_is_kept_beside(draft: Draft, broken: str, values: dict[str, Any]) -> None:
    text = broken.encode("utf8", "surrogateescape")
    draft.file.parent.mkdir()
    draft.file.write_bytes(text)
    first = Draft(draft.file)
    assert first.values == Draft(draft.file).values == values, "also at the second start"
    assert kept_at(first).read_bytes() == text
    first.set("network.alpha", 2.0)
    draft.file.write_bytes(text)  # while the page is open
    first.catch_up()
    assert draft.file.read_bytes() == text, "the editor may not be done"
    first.set("network.alpha", 4.0)
    assert [place.read_bytes() for place in sorted(draft.file.parent.glob("form-kept-*.toml"))] == [text, text]
    assert Draft(draft.file).values["network.alpha"] == 4.0
    assert kept_at(first).name == "form-kept-2.toml"


@pytest.mark.parametrize("room", ["none", "-kept-"])
def test_a_form_that_can_neither_be_read_whole_nor_kept_beside_stays_and_is_told(
    room: str, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[data]\nfolder = "/x"\nnewer_thing = 1\n'
    draft.file.parent.mkdir()
    draft.file.write_text(text, "utf8")
    touch = Path.touch

    def full(path: Path) -> None:
        if room not in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        touch(path)

    monkeypatch.setattr(Path, "touch", full)
    assert Draft(draft.file).values == {"data.folder": "/x"}
    again = Draft(draft.file)
    assert again.kept is not None
    assert again.kept[0] == "not known: data.newer_thing"
    assert isinstance(again.kept[1], Problem)
    assert again.kept[1].key == "disk_full_at"
    with pytest.raises(Problem, match="the disk is full"):
        again.set("network.alpha", 4.0)
    assert [(one.name, one.read_text("utf8")) for one in draft.file.parent.iterdir()] == [("form.toml", text)]
    monkeypatch.undo()
    again.set("network.rank", 16)
    assert kept_at(again).read_text("utf8") == text
    assert Draft(draft.file).values == {"data.folder": "/x", "network.alpha": 4.0, "network.rank": 16}


def test_a_folder_in_the_place_of_the_form_stays_and_is_told_until_it_is_gone(draft: Draft) -> None:
    draft.file.mkdir(parents=True)
    first = Draft(draft.file)
    assert first.kept is not None
    assert isinstance(first.kept[1], Problem)
    with pytest.raises(Problem, match="cannot be written"):
        first.set("network.rank", 16)
    assert list(draft.file.parent.iterdir()) == [draft.file]
    draft.file.rmdir()
    first.set("network.alpha", 4.0)
    assert first.kept is None
    assert Draft(draft.file).values == {"network.rank": 16, "network.alpha": 4.0}


def test_who_watches_is_told_when_the_form_is_kept_beside_already(draft: Draft) -> None:
    draft.set("network.rank", 16)
    seen: list[Any] = []
    draft.watchers.append(lambda names: seen.append(draft.kept and draft.kept[1]))
    draft.file.write_text("[network\n", "utf8")
    draft.catch_up()
    draft.set("network.alpha", 4.0)
    assert seen[-1] == kept_at(draft)


def test_a_change_is_saved_whatever_who_watches_does(draft: Draft) -> None:
    def broken(names: Any) -> None:
        raise RuntimeError("a fault of a window")

    draft.set("network.rank", 16)
    other = Draft(draft.file)
    draft.watchers.append(broken)
    other.set("training.seed", 7)
    with pytest.raises(RuntimeError):
        draft.set("network.alpha", 4.0)
    assert Draft(draft.file).values == {"network.rank": 16, "network.alpha": 4.0, "training.seed": 7}
    with pytest.raises(RuntimeError):
        draft.apply({"network.rank": 24}, "mine")
    assert Draft(draft.file).values["network.rank"] == 24
    with pytest.raises(RuntimeError):
        draft.undo()
    assert Draft(draft.file).values["network.rank"] == 16


def test_a_form_that_was_mended_while_the_page_is_open_is_taken_over(draft: Draft) -> None:
    draft.set("network.rank", 16)
    draft.file.write_text("[network\nrank = 24\n", "utf8")
    draft.catch_up()
    draft.file.write_text("[network]\nrank = 24\n", "utf8")
    draft.set("network.alpha", 4.0)
    assert draft.values == {"network.rank": 24, "network.alpha": 4.0}
    assert draft.kept is None


def test_who_watches_is_told_what_has_changed(draft: Draft) -> None:
    heard: list[Any] = []
    draft.watchers.append(lambda names: heard.append(sorted(names)))
    draft.set("network.rank", 16)
    draft.apply({"network.rank": 16, "network.alpha": 8.0, "training.seed": None}, "Character")
    draft.undo()
    assert heard == [["network.rank"], ["network.alpha"], ["network.alpha"]]


def test_a_form_whose_folder_cannot_be_made_is_told_of_and_goes_on(draft: Draft) -> None:
    draft.file.parent.write_text("a file")
    told: list[str] = []
    draft.watchers.append(told.extend)
    with pytest.raises(Problem, match="cannot be written"):
        draft.set("network.rank", 16)
    with pytest.raises(Problem, match="cannot be written"):
        draft.apply({"network.rank": 24}, "mine")
    with pytest.raises(Problem, match="cannot be written"):
        draft.undo()
    assert told == ["network.rank"] * 3
    assert draft.get("network.rank") == 16
