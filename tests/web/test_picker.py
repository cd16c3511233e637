"""The dialog that chooses a folder says how many pictures each one holds."""

from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tehon.web.picture_count import Counted, count_pictures


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.PNG").touch()
        (folder / f"{number}.txt").touch()


def test_pictures_are_counted_in_a_folder_and_right_inside_it(tmp_path: Path) -> None:
    for name, count in (("3_cat", 2), ("3_cat/deeper", 5), ("1_dog", 3), (".hidden", 4), ("empty", 0)):
        fill(tmp_path / name, count)
    (tmp_path / "a.webp").touch()
    found = count_pictures(tmp_path, monotonic() + 60)
    assert found == Counted(own=1, below=5, folders=2, whole=True)
    assert str(found) == "1 picture, 5 pictures in 2 folders inside"
    assert str(count_pictures(tmp_path / "empty", monotonic() + 60)) == ""
    assert count_pictures(tmp_path / "gone", monotonic() + 60) == Counted(0, 0, 0, whole=True)


def test_the_count_gives_up_where_there_are_many_or_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "cats", 300)
    late = count_pictures(tmp_path / "cats", monotonic() - 1)
    assert not late.whole
    assert late.own < 100
    monkeypatch.setattr("tehon.web.picture_count._MOST", 400)
    many = count_pictures(tmp_path / "cats", monotonic() + 60)
    assert not many.whole
    assert str(many) == f"{many.own}+ pictures"


@pytest.mark.slow
def test_the_dialog_shows_the_pictures_of_each_folder(server: Any, visit: Any, tmp_path: Path) -> None:
    fill(tmp_path / "3_cat", 2)
    fill(tmp_path / "none", 0)
    page = visit(server.url)
    row = page.locator('.setting[data-name="data.folder"]')
    row.get_by_role("textbox").fill(str(tmp_path))
    row.get_by_role("button", name="Choose").click()
    picker = page.get_by_role("dialog")
    picker.get_by_text("2 pictures in 1 folder inside").wait_for()
    assert picker.locator(".q-item", has_text="3_cat").inner_text().splitlines()[-1] == "2 pictures"
    picker.get_by_text("none", exact=True).click()
    picker.get_by_text("No pictures here").wait_for()
    picker.get_by_role("textbox").fill(str(tmp_path / "3_cat"))
    page.keyboard.press("Enter")
    picker.get_by_text("2 pictures", exact=True).wait_for()
    picker.get_by_role("button", name="Take this folder").click()
    page.wait_for_function("document.querySelector('[aria-label=\"Image folder\"]').value.endsWith('3_cat')")
