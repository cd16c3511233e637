"""The demo's pictures in a folder where other things lie."""

from pathlib import Path

import pytest
from PIL import Image

from tehon.demo.drawn import write_drawn
from tehon.disk import fill_whole
from tehon.messages.problem import Problem

DRAWN = [("01", Image.new("RGB", (8, 8)), "x")]


def names_in(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


@pytest.fixture
def somebodys(tmp_path: Path) -> Path:
    """A folder that is not the demo's."""
    folder = tmp_path / "somebody"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", "utf8")
    return folder


def test_a_link_to_somebodys_folder_is_refused_and_nothing_in_it_is_touched(tmp_path: Path, somebodys: Path) -> None:
    (tmp_path / "10_mofu").symlink_to(somebodys)
    with pytest.raises(Problem, match="10_mofu: this is a link"):
        write_drawn(tmp_path / "10_mofu", DRAWN)
    assert names_in(somebodys) == ["mine.txt"]


def test_what_is_none_of_the_pictures_makes_room_for_them(tmp_path: Path, somebodys: Path) -> None:
    folder = tmp_path / "10_mofu"
    (folder / "01.png").mkdir(parents=True)
    (folder / "link").symlink_to(somebodys)
    (folder / "extra.png").write_bytes(b"")
    (folder / ".01.txt.tehon-00000000").write_bytes(b"")  # of a process that died
    write_drawn(folder, DRAWN)
    assert names_in(folder) == ["01.png", "01.txt"]
    assert (folder / "01.png").is_file()
    assert names_in(somebodys) == ["mine.txt"]


def test_what_another_window_is_drawing_there_is_left_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "10_mofu"
    write_drawn(folder, DRAWN)

    def fill(aside: Path) -> None:
        aside.write_bytes(b"drawn elsewhere")
        write_drawn(folder, DRAWN)

    fill_whole(folder / "01.png", fill)
    assert (folder / "01.png").read_bytes() == b"drawn elsewhere"
