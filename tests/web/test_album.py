"""The pictures that the form's folders hold, and edits of their captions."""

from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from PIL import Image

from tehon.captions import tags
from tehon.messages.problem import Problem
from tehon.planning.plan import draft_plan
from tehon.web.album import Album
from tehon.web.draft import Draft
from tehon.web.pictures import Pictures


@pytest.fixture
def drafted(tmp_path: Path) -> Draft:
    return Draft(tmp_path / "form.toml")


@pytest.fixture
def shown(drafted: Draft, tmp_path: Path, album: Any) -> Album:
    parent = album({"2_red thing": [(64, 64), (96, 64)]})
    (parent / "2_red thing" / "01.txt").unlink()
    drafted.apply({"data.folder": str(parent), "data.resolution": [64, 64], "data.enable_bucket": False})
    found = Album(drafted, Pictures(tmp_path / "thumbs"))
    found.load()
    return found


def test_each_picture_with_its_bucket_crop_and_caption(shown: Album) -> None:
    assert [(entry.size, entry.bucket, entry.repeats) for entry in shown.entries] == [
        ((64, 64), (64, 64), 2),
        ((96, 64), (64, 64), 2),
    ]
    assert shown.entries[0].crop == (0, 0, 1, 1)
    assert shown.entries[1].crop == pytest.approx((16 / 96, 0, 64 / 96, 1))
    assert [(entry.caption, entry.captioned) for entry in shown.entries] == [("caption 0", True), ("red thing", False)]


def test_a_glance_has_the_pictures_of_the_plan_in_their_order(
    shown: Album, drafted: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [(entry.token, entry.path.name) for entry in shown.entries]
    assert [(tile["id"], tile["name"]) for tile in shown.glance()] == entries
    monkeypatch.chdir(tmp_path)
    drafted.set("data.folder", "pictures")
    assert [(tile["id"], tile["name"]) for tile in shown.glance()] == entries
    drafted.set("data.folder", str(shown.entries[0].path.parent))
    assert shown.glance() == [], "a folder of pictures where their parent should be is for the plan to explain"
    drafted.set("data.repeats", 3)
    assert [tile["id"] for tile in shown.glance()] == [token for token, _ in entries]


def test_of_two_who_load_at_once_the_later_one_is_shown(
    shown: Album, drafted: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, hold = Event(), Event()

    def slow_at_first(settings: Any) -> Any:
        if not begun.is_set():
            begun.set()
            hold.wait(20)
        return draft_plan(settings)

    monkeypatch.setattr("tehon.planning.plan.draft_plan", slow_at_first)
    right = drafted.get("data.folder")
    drafted.set("data.folder", str(tmp_path / "nowhere"))
    earlier, later = Thread(target=shown.load), Thread(target=shown.load)
    earlier.start()
    assert begun.wait(20)
    drafted.set("data.folder", right)
    later.start()
    later.join(0.5)
    hold.set()
    for thread in (earlier, later):
        thread.join(20)
    assert shown.trouble == ""
    assert len(shown.entries) == 2


def test_neither_a_model_nor_an_output_folder_is_needed_to_look(shown: Album) -> None:
    assert shown.trouble == ""
    assert any("no caption" in sentence for sentence in shown.sentences)


def test_without_a_folder_the_reason_is_said(drafted: Draft, tmp_path: Path) -> None:
    album = Album(drafted, Pictures(tmp_path))
    album.load()
    assert album.entries == []
    assert album.trouble == "Image folder is still to be chosen."


def test_the_resolution_of_the_stand_in_for_a_model_is_nobodys_mistake(shown: Album, drafted: Draft) -> None:
    drafted.apply({"data.resolution": None, "data.enable_bucket": True, "data.bucket_no_upscale": False})
    shown.load()
    assert shown.trouble == "Base model is still to be chosen."
    drafted.set("data.resolution", [128, 128])
    shown.load()
    assert shown.trouble == (
        "data.resolution: with enlarging buckets its sides must lie between 256 and 1024; "
        "change it, or data.min_bucket_reso and data.max_bucket_reso."
    )


def test_an_edit_of_many_is_on_the_disk_and_taken_back_at_once(shown: Album) -> None:
    assert shown.edit(shown.entries, partial(tags.add, ["owl"], first=True)) == 2
    assert [entry.caption for entry in shown.entries] == ["owl, caption 0", "owl"]
    files = [entry.path.with_suffix(".txt") for entry in shown.entries]
    assert [file.read_text("utf8") for file in files] == ["owl, caption 0\n", "owl\n"]
    assert shown.tag_counts() == [("owl", 2), ("caption 0", 1)]
    assert shown.undo() == 2
    assert [file.exists() for file in files] == [True, False]
    assert shown.entries[0].caption == "caption 0"


def test_changes_are_taken_back_one_after_the_other(shown: Album) -> None:
    entry = shown.entries[0]
    for text in ("first", "second"):
        shown.edit([entry], lambda _, text=text: text)
    for left in ("first", "caption 0"):
        assert shown.undo() == 1
        assert shown.entries[0].caption == left
    assert shown.changes == []
    assert shown.undo() == 0


def test_what_somebody_else_changed_since_is_not_lost_but_shown(shown: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown.edit(shown.entries, lambda _: "from the page") == 2
    file = shown.entries[0].path.with_suffix(".txt")
    file.write_text("by hand", "utf8")
    with pytest.raises(Problem, match=r"00\.txt: this file was changed by something else since") as refused:
        shown.undo()
    assert [entry.caption for entry in shown.entries] == ["by hand", "from the page"]
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert "別の変更" in str(refused.value)
    file.write_text("from the page\n", "utf8")
    assert shown.undo() == 2, "what was put right can be taken back"
    assert [entry.caption for entry in shown.entries] == ["caption 0", "red thing"]


def test_an_edit_goes_to_the_file_that_is_trained_on_however_its_extension_is_written(shown: Album) -> None:
    folder = shown.entries[0].path.parent
    (folder / "00.txt").rename(folder / "00.TXT")
    shown.load()
    assert shown.entries[0].caption == "caption 0"
    assert shown.edit(shown.entries[:1], lambda text: f"{text}, new") == 1
    assert [(file.name, file.read_text("utf8")) for file in folder.glob("0*.[Tt]*")] == [("00.TXT", "caption 0, new\n")]
    assert shown.entries[0].caption == "caption 0, new"
    assert shown.undo() == 1
    assert (folder / "00.TXT").read_text("utf8") == "caption 0"


def test_a_new_caption_gets_the_extension_that_is_asked_for_in_its_set(shown: Album, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (64, 64)).save(other / "my.cat.png")
    shown.draft.set("data.caption_extension", "tags")
    shown.load()
    assert [entry.caption_file and entry.caption_file.name for entry in shown.entries] == ["00.tags", "01.tags"]
    one, two = (
        {"folder": str(folder), "repeats": 1, "class_words": "it"} for folder in (shown.entries[0].path.parent, other)
    )
    shown.draft.set("data.sets", [one, two | {"caption_extension": ".cap"}])
    shown.load()
    assert [entry.path.name for entry in shown.entries] == ["00.png", "01.png", "my.cat.png"]
    assert shown.edit(shown.entries, lambda _: "new") == 3
    assert sorted(file.name for file in tmp_path.rglob("*.[tc]a[gp]*")) == ["00.tags", "01.tags", "my.cat.cap"]
    assert [entry.caption for entry in shown.entries] == ["new"] * 3


def test_an_edit_goes_to_the_files_that_were_shown_whatever_the_form_says_by_now(shown: Album) -> None:
    entry = shown.entries[0]
    for name, value in (("data.reg_folder", "/nowhere"), ("data.caption_extension", ".cap")):
        shown.draft.set(name, value)
        shown.load()
        assert shown.edit([entry], lambda _, name=name: name) == 1
        assert entry.path.with_suffix(".txt").read_text("utf8") == f"{name}\n"
        shown.draft.set(name, None)
    assert not list(entry.path.parent.glob("*.cap"))


@pytest.mark.parametrize(("wildcards", "wanted"), [(False, "one, new\ntwo\n"), (True, "one\ntwo, new\n")])
def test_lines_that_are_no_captions_stay(shown: Album, drafted: Draft, wildcards: bool, wanted: str) -> None:
    file = shown.entries[0].path.with_suffix(".txt")
    file.write_text("one\ntwo\n")
    drafted.set("data.enable_wildcard", wildcards)
    shown.load()
    shown.edit(shown.entries[:1], lambda text: f"{text}, new")
    assert file.read_text() == wanted


def test_an_edit_is_of_what_another_program_has_written_meanwhile(shown: Album) -> None:
    file = shown.entries[0].path.with_suffix(".txt")
    file.write_text("from elsewhere\n")
    shown.edit(shown.entries[:1], lambda text: f"{text}, new")
    assert file.read_text() == "from elsewhere, new\n"


def test_an_edit_is_for_the_chosen_alone(shown: Album) -> None:
    shown.edit(shown.entries[:1], lambda _: "new")
    assert [entry.caption for entry in shown.entries] == ["new", "red thing"]


def test_what_the_network_is_fed_follows_the_epoch(shown: Album) -> None:
    shown.draft.apply({"data.flip_aug": True, "data.caption_dropout_every_n_epochs": 2, "training.seed": 3})
    shown.draft.apply({"training.epochs": 9})
    shown.load()
    readings = [reading for epoch in range(8) for reading in shown.readings(0, epoch)]
    assert len(readings) == 16
    assert {reading.flip for reading in readings} == {True, False}
    assert {reading.caption for reading in shown.readings(0, 0)} == {"caption 0"}
    assert {reading.caption for reading in shown.readings(0, 1)} == {""}
