"""Caption files: changed whole, and taken back."""

from pathlib import Path

import pytest

from tehon.captions.files import CaptionFiles
from tehon.messages.problem import Problem


def test_a_change_of_many_files_is_taken_back_in_one_step(tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_bytes("古い\r\n".encode())
    album = CaptionFiles()
    assert album.change({old: "owl, sitting", new: "owl"}) == 2
    assert (old.read_text("utf8"), new.read_text("utf8")) == ("owl, sitting\n", "owl\n")
    assert album.change({old: "owl"}) == 1
    assert album.undo() == [old]
    assert old.read_text("utf8") == "owl, sitting\n"
    album.undo()
    assert old.read_bytes() == "古い\r\n".encode()
    assert not new.exists()
    assert album.undo() == []


def test_what_stays_the_same_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("owl\n", "utf8")
    before = file.stat().st_mtime_ns
    album = CaptionFiles()
    assert album.change({file: "owl", tmp_path / "empty.txt": " "}) == 0
    assert file.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [file]
    assert album.before == []


def test_a_file_that_cannot_be_written_leaves_the_others_to_be_taken_back(tmp_path: Path) -> None:
    first = tmp_path / "a.txt"
    album = CaptionFiles()
    with pytest.raises(Problem):
        album.change({first: "owl", tmp_path / "missing" / "b.txt": "owl"})
    assert first.exists()
    album.undo()
    assert not first.exists()
