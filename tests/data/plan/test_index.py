"""What is remembered of pictures and captions, when it counts, and that its loss stops nothing."""

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from tehon.data.plan import index as module
from tehon.data.plan.index import Index, user_cache_folder
from tehon.data.plan.listing import FileStamp, Stamps
from tehon.data.plan.measurements import Measured, Measurements
from tehon.messages.problem import Problem

ONE = Measured((64, 96), b"0123456789abcdef", True, False)
OTHER = Measured((32, 32), bytes(range(16)), False, True)
STAMP = ("猫.png", 100, 5, 6)
BAD = ("bad.png", 1, 2, 3)
TEXT = ("猫.txt", 9, 1, 1)
A = Path("a")


def stamps_of(*files: FileStamp) -> Stamps:
    return Stamps.of((name, Path(name).stem, size, changed, created) for name, size, changed, created in files)


def keep(index: Index, folder: Path, files: dict[FileStamp, Measured]) -> None:
    measured = Measurements([(0, 0)] * len(files), [b""] * len(files), bytearray(len(files)), bytearray(len(files)))
    for number, one in enumerate(files.values()):
        measured[number] = one
    index.keep_pictures(folder, stamps_of(*files), measured)


def known(index: Index, folder: Path, *files: FileStamp) -> list[Measured | None]:
    measured, unknown = index.pictures(folder, stamps_of(*files))
    return [None if number in unknown else measured[number] for number in range(len(files))]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    index = Index(tmp_path)
    keep(index, A, {BAD: Measured(error="broken"), STAMP: ONE})
    index.keep_captions(A, ".txt", stamps_of(TEXT), ["a cat\nsecond"])
    index.close()
    assert index.trouble == ""
    return tmp_path


def test_what_was_kept_is_found_again_but_not_what_was_broken(filled: Path) -> None:
    index = Index(filled)
    assert known(index, A, STAMP) == [ONE]
    assert known(index, A, BAD, STAMP) == [None, ONE]
    assert index.captions(A, ".txt", stamps_of(TEXT)) == ["a cat\nsecond"]
    assert index.captions(A, ".caption", stamps_of(TEXT)) == [None]
    assert known(index, Path("b"), STAMP) == [None]
    index.close()


@pytest.mark.parametrize("place", range(4))
def test_a_file_counts_as_known_only_with_its_name_its_bytes_and_both_its_times(filled: Path, place: int) -> None:
    changed: list[Any] = list(STAMP)
    changed[place] = "other.png" if place == 0 else changed[place] + 1
    index = Index(filled)
    assert known(index, A, tuple(changed)) == [None]
    index.close()


def test_what_is_kept_takes_the_place_of_all_that_was_known_of_a_folder(filled: Path) -> None:
    index = Index(filled)
    newer, second = ("猫.png", 100, 7, 8), ("犬.png", 1, 2, 3)
    known(index, A, newer, second)
    keep(index, A, {newer: ONE, second: OTHER})
    assert known(index, A, second, newer, STAMP) == [OTHER, ONE, None]
    keep(index, A, {second: OTHER})
    assert known(index, A, second, newer) == [OTHER, None]
    keep(index, A, {})
    assert known(index, A, second) == [None]
    assert index.captions(A, ".txt", stamps_of(TEXT)) == ["a cat\nsecond"]
    index.close()


def test_a_caption_that_can_not_be_read_is_not_kept_and_any_other_text_is(tmp_path: Path) -> None:
    texts: list[str | Problem] = ["", Problem("caption_not_utf8", path="2.txt"), 'a "b"\0\n\u2028', "猫 🐈"]
    stamps = [(f"{number}.txt", 1, 2, 3) for number in range(3)] + [("\udcff.txt", 1, 2, 3)]
    index = Index(tmp_path)
    index.keep_captions(A, ".txt", stamps_of(*stamps), texts)
    index.close()
    index = Index(tmp_path)
    assert index.captions(A, ".txt", stamps_of(*stamps)) == ["", None, *texts[2:]]
    index.close()


def test_a_file_of_this_moment_is_not_kept(tmp_path: Path) -> None:
    """A second change in the same moment might leave it with the same times."""
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    facts = os.stat(file)
    stamp = ("a.png", 1, facts.st_mtime_ns, facts.st_ctime_ns)
    index = Index(tmp_path)
    keep(index, A, {STAMP: ONE, stamp: OTHER})
    assert known(index, A, STAMP, stamp) == [ONE, None]
    index.close()


def test_a_damaged_row_is_as_if_nothing_were_known_and_is_kept_anew(filled: Path) -> None:
    db = sqlite3.connect(filled / "pictures.sqlite")
    (columns,) = db.execute("SELECT columns FROM folders WHERE kind = 'pictures'").fetchone()
    db.execute("UPDATE folders SET columns = ? WHERE kind = 'pictures'", (columns.replace(b"0123", b"0124"),))
    db.commit()
    db.close()
    index = Index(filled)
    assert known(index, A, STAMP) == [None]
    assert index.captions(A, ".txt", stamps_of(TEXT)) == ["a cat\nsecond"]
    keep(index, A, {STAMP: ONE})
    assert known(index, A, STAMP) == [ONE]
    assert index.trouble == ""
    index.close()


def test_a_damaged_page_is_said_once_and_the_next_plan_begins_anew(filled: Path) -> None:
    file = filled / "pictures.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    index = Index(filled)
    assert known(index, A, STAMP) == [None]
    assert "malformed" in index.trouble
    index = Index(filled)
    keep(index, A, {STAMP: ONE})
    assert (index.trouble, known(index, A, STAMP)) == ("", [ONE])
    index.close()


def test_two_processes_share_one_index_without_waiting(filled: Path) -> None:
    first, second = Index(filled), Index(filled)
    keep(first, Path("b"), {STAMP: ONE})
    keep(second, Path("c"), {STAMP: OTHER})
    assert known(second, Path("b"), STAMP) == [ONE]
    assert known(first, Path("c"), STAMP) == [OTHER]
    assert (first.trouble, second.trouble) == ("", "")
    first.close()
    second.close()


def test_the_index_of_an_older_version_is_begun_anew(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "pictures.sqlite")
    db.executescript(
        "CREATE TABLE pictures (folder TEXT, name TEXT); CREATE TABLE captions (folder TEXT); PRAGMA user_version = 1;"
    )
    db.close()
    index = Index(tmp_path)
    keep(index, A, {STAMP: ONE})
    assert (index.trouble, known(index, A, STAMP)) == ("", [ONE])
    index.close()


@pytest.mark.parametrize(
    "content", [b"not a database at all, but longer than a header" * 10, b"SQLite format 3\0" * 99]
)
def test_a_damaged_index_is_begun_anew(filled: Path, content: bytes) -> None:
    (filled / "pictures.sqlite").write_bytes(content)
    index = Index(filled)
    assert index.trouble == ""
    keep(index, A, {STAMP: ONE})
    assert known(index, A, STAMP) == [ONE]
    index.close()


def test_an_index_of_another_version_is_begun_anew(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VERSION", 99)
    index = Index(filled)
    assert known(index, A, STAMP) == [None]
    index.close()
    assert sqlite3.connect(filled / "pictures.sqlite").execute("PRAGMA user_version").fetchone() == (99,)


def test_a_folder_that_cannot_be_made_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = Index(tmp_path / "file" / "cache")
    assert index.trouble
    assert known(index, A, STAMP) == [None]
    keep(index, A, {STAMP: ONE})
    index.keep_captions(A, ".txt", stamps_of(TEXT), ["text"])
    index.close()


def test_a_locked_index_is_said_and_stops_nothing(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def impatient(file: Path, timeout: float, isolation_level: None) -> sqlite3.Connection:
        return connect(file, timeout=timeout / 100, isolation_level=isolation_level)

    monkeypatch.setattr(sqlite3, "connect", impatient)
    other = connect(filled / "pictures.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    index = Index(filled)
    assert known(index, A, STAMP) == [None]
    assert "locked" in index.trouble
    index.close()
    other.close()


@pytest.mark.skipif(sys.platform != "linux", reason="each system has a place of its own")
def test_the_cache_lies_where_the_system_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert user_cache_folder() == tmp_path / ".cache" / "tehon"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert user_cache_folder() == tmp_path / "x" / "tehon"
