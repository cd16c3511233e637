"""What lies in a folder, and its files as columns."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tehon.data.plan.listing import Stamps, list_folder

NUMBERS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1)
ROWS = st.lists(st.tuples(NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS), unique_by=lambda row: row[0])


def test_files_are_sorted_by_what_they_are_and_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.b.jpg", "b.txt", "A.TXT", "c.caption", "d.gif", "notes.md", "png", ".png"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.png").mkdir()
    found = list_folder(tmp_path, (".txt", ".tags"))
    assert (found.pictures.names, found.pictures.stems) == (["a.b.jpg", "b.PNG"], ["a.b", "b"])
    assert {kind: files.names for kind, files in found.texts.items()} == {".txt": ["A.TXT", "b.txt"], ".tags": []}
    assert found.not_read == ["d.gif"]
    assert sorted(found.others) == [".png", "c.caption", "notes.md", "png"]
    assert (found.folders, found.unreadable) == ([tmp_path / "folder.png"], {})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_picture_whose_name_is_not_unicode_is_told_in_the_users_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / os.fsdecode(b"\x94\x4c.png")).write_text("")
    assert list_folder(tmp_path, (".txt",)).unreadable == {"\\udc94L.png": "the file name is not Unicode"}
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert list_folder(tmp_path, (".txt",)).unreadable == {"\\udc94L.png": "ファイル名が Unicode ではありません"}


def test_a_stamp_has_the_bytes_and_both_times_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"123")
    os.utime(tmp_path / "a.png", ns=(5, 1_700_000_000_123_456_789))
    facts = os.stat(tmp_path / "a.png")
    assert list(list_folder(tmp_path).pictures) == [("a.png", 3, facts.st_mtime_ns, facts.st_ctime_ns)]


@pytest.mark.skipif(sys.platform == "win32", reason="links need no rights on other systems")
def test_what_a_link_leads_to_counts(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"12345")
    (tmp_path / "a.png").symlink_to(tmp_path / "real" / "x")
    (tmp_path / "b.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "c").symlink_to(tmp_path / "real")
    found = list_folder(tmp_path)
    assert [stamp[:2] for stamp in found.pictures] == [("a.png", 5)]
    assert found.unreadable == {"b.png": "No such file or directory"}
    assert found.folders == [tmp_path / "c", tmp_path / "real"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_folder(tmp_path / "nowhere")


@given(ROWS)
def test_packed_stamps_say_all_that_the_columns_say(rows: list[tuple[str, str, int, int, int]]) -> None:
    stamps = Stamps.of(rows)
    assert list(stamps) == [(name, *numbers) for name, _, *numbers in rows]
    assert Stamps.unpacked(stamps.packed()) == list(stamps)


@given(ROWS, st.data())
def test_a_selection_has_the_stamps_of_its_numbers(
    rows: list[tuple[str, str, int, int, int]], data: st.DataObject
) -> None:
    numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(rows)))) if rows else st.just(set[int]())))
    chosen = Stamps.of(rows).select(numbers)
    assert chosen == Stamps.of([rows[number] for number in numbers])
