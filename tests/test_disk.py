"""What is written and replaced: nothing is lost that nobody named."""

import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tehon.disk import (
    clear_leftovers,
    clear_leftovers_of,
    fill_folder,
    fill_whole,
    link_or_copy,
    make_folder,
    sized,
    write_whole,
)
from tehon.messages.problem import Problem
from tehon.weights.slices import write_tensors


def fill(folder: Path) -> None:
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_text("new")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0.0 KB"),
        (999_900, "999.9 KB"),
        (999_960, "1.0 MB"),
        (129_522_700, "129.5 MB"),
        (129_522_700_000, "129.5 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_a_size_has_a_unit_in_which_it_can_be_read(size: float, said: str) -> None:
    assert sized(size) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"the disk is full \(\d+\.\d .B free\)"),
        (errno.EFBIG, r"no file may be as large as this one there, .* \(FAT32 ends at 4 GB\)"),
        (errno.EROFS, r"this cannot be written \(Read-only"),
    ],
)
def test_a_write_that_failed_is_told_by_its_reason(number: int, said: str, tmp_path: Path) -> None:
    def fail(aside: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(Problem, match=f"^{tmp_path / 'a'}: {said}.* what was there before is unharmed;"):
        fill_whole(tmp_path / "a", fail)


def test_a_folder_is_replaced_by_one_with_the_same_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill_folder(out, fill)
    (out / "unet" / "model.safetensors").write_text("old")
    with pytest.raises(Problem, match="is already there"):
        fill_folder(out, fill)
    fill_folder(out, fill, overwrite=True)
    assert (out / "unet" / "model.safetensors").read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["diary.txt", "unet/mine.safetensors"])
def test_a_folder_with_something_else_in_it_is_not_replaced(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill_folder(out, fill)
    (out / name).write_text("mine")
    with pytest.raises(Problem, match=f"{name} is in this folder and would be gone"):
        fill_folder(out, fill, overwrite=True)
    assert (out / name).read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_the_folder_that_one_is_in_is_a_name_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fill_folder(Path(), fill, overwrite=True)
    assert (tmp_path / "here" / "unet" / "model.safetensors").read_text() == "new"
    with pytest.raises(Problem, match="is already there"):
        fill_folder(tmp_path / "here" / "unet" / "model.safetensors", fill, overwrite=True)


def test_a_folder_that_a_file_is_in_the_way_of_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    make_folder(tmp_path / "b" / "c")
    make_folder(tmp_path / "b" / "c")
    for place in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(Problem, match="cannot be written") as caught:
            make_folder(place)
        assert caught.value.values["path"] == place


def test_what_lies_beside_a_result_stays(tmp_path: Path) -> None:
    beside = [tmp_path / f"{name}.{ending}" for name in ("base", "r9.safetensors") for ending in ("old", "new")]
    for place in beside:
        place.mkdir()
    fill_folder(tmp_path / "base", fill)
    fill_folder(tmp_path / "base", fill, overwrite=True)
    for place in beside[2:]:
        place.rmdir()
        place.write_text("mine")
    write_whole(tmp_path / "r9.safetensors", b"new")
    link_or_copy(tmp_path / "r9.safetensors", tmp_path / "linked")
    names = {"base", "r9.safetensors", "linked", *(place.name for place in beside)}
    assert {place.name for place in tmp_path.iterdir()} == names
    assert all(place.read_text() == "mine" for place in beside[2:])


def test_only_what_tehon_was_writing_is_cleared(tmp_path: Path) -> None:
    """By the name that a killed process leaves."""
    users = [tmp_path / name for name in ("a.new", "a.tehon-01234567", ".a.tehon-mine", ".a.tehon-012345678")]
    for file in users:
        file.write_text("mine")
    seen: list[Path] = []

    def die(aside: Path) -> None:
        seen.append(aside)
        aside.write_text("half")
        aside.rename(tmp_path / "kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_whole(tmp_path / "a", die)
    (tmp_path / "kept").rename(seen[0])
    clear_leftovers(tmp_path, lambda name: name != "a")
    assert seen[0].exists(), "it is not of a name that is ours"
    clear_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(users)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that is killed while it writes is forked here")
@pytest.mark.parametrize("name", ["a", "猫" * 84], ids=["short", "long"])
@pytest.mark.parametrize("write", [fill_whole, fill_folder])
def test_the_next_result_of_a_name_clears_what_a_killed_process_left_of_it(
    tmp_path: Path, name: str, write: Callable[[Path, Callable[[Path], object]], None]
) -> None:
    """And nothing that a living one is writing, of whatever name."""
    started, place = tmp_path / "started", tmp_path / "out" / name
    place.parent.mkdir()

    def hang(aside: Path) -> None:
        content(aside)
        started.touch()
        time.sleep(60)

    def content(aside: Path) -> None:
        (aside / "half" if aside.is_dir() else aside).write_text("half")

    child = os.fork()
    if not child:
        write(place, hang)
    try:
        while not started.exists():
            time.sleep(0.01)
        write(place.with_name("other"), content)
        clear_leftovers_of(place)
        assert len(list(place.parent.iterdir())) == 2, "somebody is writing there"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    clear_leftovers_of(place.with_name("other"))
    assert len(list(place.parent.iterdir())) == 2, "it is of another name"
    write_tensors(place, {}, {}, lambda key: torch.empty(0), overwrite=True) if write is fill_whole else write(
        place, content
    )
    assert {one.name for one in place.parent.iterdir()} == {name, "other"}


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that any process has open is not removed, and a folder with one in it not renamed."""

    def unless_open(change: Callable[..., object]) -> Callable[..., object]:
        def changed(place: Path, *rest: Any, **named: Any) -> object:
            for process in Path("/proc").glob("[0-9]*/fd"):
                with suppress(OSError):  # it is another user's, or has ended
                    held = [os.path.realpath(process / number) for number in os.listdir(process)]
                    if any(Path(file).is_relative_to(place) for file in held):
                        break
            else:
                return change(place, *rest, **named)
            raise PermissionError(errno.EACCES, "in use")

        return changed

    monkeypatch.setattr("tehon.disk.sys.platform", "win32")
    for name in ("unlink", "replace"):
        monkeypatch.setattr(Path, name, unless_open(getattr(Path, name)))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is open is looked up in Linux's way")
@pytest.mark.usefixtures("as_on_windows")
def test_on_windows_a_folder_that_a_killed_process_left_is_cleared_too(tmp_path: Path) -> None:
    started, folder = tmp_path / "started", tmp_path / "out" / "model"
    folder.parent.mkdir()

    def hang(new: Path) -> None:
        fill(new)
        started.touch()
        time.sleep(60)

    child = os.fork()
    if not child:
        fill_folder(folder, hang)
    try:
        while not started.exists():
            time.sleep(0.01)
        clear_leftovers_of(folder)
        assert len(list(folder.parent.rglob("model.safetensors"))) == 1, "somebody is writing there"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    fill_folder(folder, fill)
    fill_folder(folder, fill, overwrite=True)
    assert [place.relative_to(folder.parent).as_posix() for place in sorted(folder.parent.rglob("*"))] == [
        "model",
        "model/unet",
        "model/unet/model.safetensors",
    ]


def test_a_name_may_be_as_long_as_the_system_takes(tmp_path: Path) -> None:
    file = tmp_path / ("猫" * 83 + ".txt")  # 253 bytes
    write_whole(file, b"new")
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_a_killed_process_had_taken_aside_is_brought_back(tmp_path: Path) -> None:
    folder, aside = tmp_path / "model", tmp_path / ".model.tehon-before"
    aside.mkdir()
    (aside / "old.safetensors").touch()
    with pytest.raises(Problem, match="model"):
        fill_folder(folder, fill)
    assert [file.name for file in folder.iterdir()] == ["old.safetensors"]
    folder.rename(aside)
    with pytest.raises(Problem, match=r"old\.safetensors"):
        fill_folder(folder, fill, overwrite=True)
    assert [file.name for file in folder.iterdir()] == ["old.safetensors"]
    assert not aside.exists()
