"""Folders that are replaced: nothing in them is lost that nobody named."""

from pathlib import Path

import pytest

from tehon.disk import fill_folder
from tehon.messages.problem import Problem


def fill(folder: Path) -> None:
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_text("new")


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
