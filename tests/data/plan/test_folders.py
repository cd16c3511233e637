"""Which folders count, and what is said to those who give the wrong level."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from tehon.data.plan.folders import find_folders, ignored_children
from tehon.messages.problem import Problem


def picture(folder: Path, name: str = "a.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / name)


def complaint(folder: Path) -> str:
    with pytest.raises(Problem) as caught:
        find_folders(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "repeats", "words"),
    [
        ("10_cat", 10, "cat"),
        ("1_a red cat", 1, "a red cat"),
        ("02_cat", 2, "cat"),
        ("3_cat_and_dog", 3, "cat_and_dog"),
        ("3_ cat ", 3, "cat"),
        ("5_", 5, ""),
        ("5", 5, ""),
        ("4_猫 と 犬", 4, "猫 と 犬"),
        ("4_café", 4, "café"),
        ("１０_cat", 10, "cat"),
    ],
)
def test_a_folder_is_named_with_repeats_and_words(tmp_path: Path, name: str, repeats: int, words: str) -> None:
    picture(tmp_path / name)
    assert [(f.path.name, f.repeats, f.words) for f in find_folders(tmp_path)] == [(name, repeats, words)]


@pytest.mark.parametrize("name", ["cat", "_cat", "x10_cat", "-3_cat", "10cat", "10 cat", "1.5_cat", "0_cat", "00_cat"])
def test_a_folder_with_another_name_does_not_count(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name)
    picture(tmp_path / "2_dog")
    assert [f.path.name for f in find_folders(tmp_path)] == ["2_dog"]
    assert [path.name for path in ignored_children(tmp_path)] == [name]


def test_folders_come_sorted_and_files_beside_them_do_not_matter(tmp_path: Path) -> None:
    for name in ("3_b", "10_a", "2_c"):
        picture(tmp_path / name)
    (tmp_path / "7_notes").write_text("not a folder")
    (tmp_path / "notes").mkdir()
    assert [f.path.name for f in find_folders(tmp_path)] == ["10_a", "2_c", "3_b"]
    assert ignored_children(tmp_path) == []


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none").startswith(f"data.folder: the folder {tmp_path / 'none'} does not exist")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    picture(tmp_path)
    assert complaint(tmp_path / "a.png").startswith(f"data.folder: the folder {tmp_path / 'a.png'} does not exist")


def test_one_level_too_deep_names_the_parent(tmp_path: Path) -> None:
    picture(tmp_path / "10_cat")
    assert complaint(tmp_path / "10_cat") == (
        f"data.folder: {tmp_path / '10_cat'} is one level too deep, it is a picture folder itself; "
        f"give its parent, {tmp_path}."
    )


@pytest.mark.parametrize("stray", [False, True], ids=["", "with a picture beside it, as the demo's folder"])
def test_one_level_too_shallow_names_the_child(stray: bool, tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "10_cat")
    (tmp_path / "a").mkdir()
    if stray:
        picture(tmp_path)
    assert complaint(tmp_path) == (
        f"data.folder: {tmp_path} is one level too shallow, the picture folders lie in {tmp_path / 'pictures'}; "
        "give that folder."
    )


def test_pictures_without_a_named_folder_say_how_to_name_one(tmp_path: Path) -> None:
    picture(tmp_path / "cats")
    assert complaint(tmp_path / "cats") == (
        f"data.folder: pictures lie directly in {tmp_path / 'cats'}; "
        "set data.repeats, to 10 for a start, "
        "or move them into a folder inside it named with repeats and words, like 10_cats."
    )


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith(f"data.folder: no pictures were found in {tmp_path};")


def test_repeats_of_zero_alone_leave_no_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "0_cat")
    assert complaint(tmp_path).startswith(f"data.folder: no pictures were found in {tmp_path};")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_unicode_is_refused_and_shown(tmp_path: Path) -> None:
    picture(tmp_path / os.fsdecode(b"5_\x94\x4c"))
    assert (
        complaint(tmp_path) == f"data.folder: the name of the folder {tmp_path}/5_\\udc94L is not Unicode; rename it."
    )
