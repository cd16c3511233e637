"""Caption files: changed whole, and taken back unless somebody else changed them since."""

from pathlib import Path

import pytest

from tehon.captions.files import change_to, make, take_back
from tehon.messages.problem import Problem


def test_a_change_of_many_files_is_taken_back_in_one_step(tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_bytes("古い\r\n".encode())
    first = change_to({old: "owl, sitting", new: "owl"})
    make(first)
    assert (old.read_text("utf8"), new.read_text("utf8")) == ("owl, sitting\n", "owl\n")
    second = change_to({old: "owl", new: "owl"})
    assert list(second) == [old]
    make(second)
    assert take_back(second) == [old]
    assert old.read_text("utf8") == "owl, sitting\n"
    assert take_back(first) == [old, new]
    assert old.read_bytes() == "古い\r\n".encode()
    assert not new.exists()


def test_what_stays_the_same_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("owl\n", "utf8")
    assert change_to({file: "owl", tmp_path / "empty.txt": " "}) == {}


def test_a_file_that_cannot_be_written_leaves_the_others_to_be_taken_back(tmp_path: Path) -> None:
    first = tmp_path / "a.txt"
    change = change_to({first: "owl", tmp_path / "missing" / "b.txt": "owl"})
    with pytest.raises(Problem):
        make(change)
    assert first.exists()
    assert take_back(change) == [first]
    assert not first.exists()


@pytest.mark.parametrize("later", [b"by hand", None])
def test_what_somebody_else_changed_since_is_left_alone_with_the_rest(tmp_path: Path, later: bytes | None) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    second.write_bytes(b"old")
    change = change_to({first: "owl", second: "owl"})
    make(change)
    if later is None:
        second.unlink()
    else:
        second.write_bytes(later)
    with pytest.raises(Problem, match=r"b\.txt: this file was changed by something else since"):
        take_back(change)
    assert first.read_bytes() == b"owl\n"
    assert second.exists() == (later is not None)
