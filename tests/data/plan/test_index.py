"""What is remembered of pictures and captions, when it counts, and that its loss stops nothing."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from tehon.data.plan import index as module
from tehon.data.plan.images import Measured
from tehon.data.plan.index import Index, user_cache_folder

ONE = Measured((64, 96), b"0123456789abcdef", True, False)
STAMP = ("猫.png", 100, 5, 6)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    index = Index(tmp_path)
    index.keep_pictures(Path("a"), {STAMP: ONE, ("bad.png", 1, 2, 3): Measured(error="broken")}, ())
    index.keep_captions(Path("a"), {("猫.txt", 9, 1, 1): "a cat\nsecond"}, ())
    index.close()
    assert index.trouble == ""
    return tmp_path


def test_what_was_kept_is_found_again_but_not_what_was_broken(filled: Path) -> None:
    index = Index(filled)
    assert index.pictures(Path("a")) == {STAMP: ONE}
    assert index.captions(Path("a")) == {("猫.txt", 9, 1, 1): "a cat\nsecond"}
    assert index.pictures(Path("b")) == {}
    index.close()


def test_a_newer_file_takes_the_place_of_the_older_and_gone_ones_are_forgotten(filled: Path) -> None:
    index = Index(filled)
    newer = ("猫.png", 100, 7, 8)
    index.keep_pictures(Path("a"), {newer: ONE}, ())
    assert index.pictures(Path("a")) == {newer: ONE}
    index.keep_pictures(Path("a"), {}, [newer])
    assert index.pictures(Path("a")) == {}
    index.close()


def test_a_file_of_this_moment_is_not_kept(tmp_path: Path) -> None:
    """A second change in the same moment might leave it with the same times."""
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    facts = os.stat(file)
    index = Index(tmp_path)
    index.keep_pictures(tmp_path, {("a.png", 1, facts.st_mtime_ns, facts.st_ctime_ns): ONE}, ())
    assert index.pictures(tmp_path) == {}
    index.close()


@pytest.mark.parametrize(
    "content", [b"not a database at all, but longer than a header" * 10, b"SQLite format 3\0" * 99]
)
def test_a_damaged_index_is_begun_anew(filled: Path, content: bytes) -> None:
    (filled / "pictures.sqlite").write_bytes(content)
    index = Index(filled)
    assert index.trouble == ""
    index.keep_pictures(Path("a"), {STAMP: ONE}, ())
    assert index.pictures(Path("a")) == {STAMP: ONE}
    index.close()


def test_an_index_of_another_version_is_begun_anew(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VERSION", 99)
    index = Index(filled)
    assert index.pictures(Path("a")) == {}
    index.close()
    assert sqlite3.connect(filled / "pictures.sqlite").execute("PRAGMA user_version").fetchone() == (99,)


def test_a_folder_that_cannot_be_made_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = Index(tmp_path / "file" / "cache")
    assert index.trouble
    assert index.pictures(Path("a")) == {}
    index.keep_pictures(Path("a"), {STAMP: ONE}, ())
    index.keep_captions(Path("a"), {STAMP: "text"}, ())
    index.close()


def test_a_locked_index_is_said_and_stops_nothing(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, timeout: connect(file, timeout=0.05))
    other = connect(filled / "pictures.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    index = Index(filled)
    assert index.pictures(Path("a")) == {}
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
