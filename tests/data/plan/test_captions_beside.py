"""Captions that another process lists are those that this one would have listed."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tehon.data.plan import captions_beside as module
from tehon.data.plan.captions_beside import CaptionsBeside
from tehon.data.plan.entries import CAPTIONS, NO_CAPTIONS
from tehon.data.plan.listing import Listing, list_folder

TEXTS = (".txt", ".tags")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="links and odd names need no rights on other systems")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With all that a folder may hold, captions among them that are folders, lead nowhere or have no name."""
    place = tmp_path / "10_猫"
    (place / "folder.txt").mkdir(parents=True)
    (place / "more").mkdir()
    for name in ("b.png", "a.JPG", "a.txt", "b.TXT", "猫.tags", "c.caption", ".txt", "txt", "x.", "d.gif", "n.md"):
        (place / name).write_text(name, "utf8")
    os.utime(place / "a.txt", ns=(5, 1_700_000_000_123_456_789))
    (place / "nowhere.txt").symlink_to(place / "nothing")
    (place / "nowhere.png").symlink_to(place / "nothing")
    return place


def sorted_out(listing: Listing) -> Listing:
    """With what has no order in one."""
    return replace(listing, others=sorted(listing.others))


@posix_only
def test_both_parts_of_a_folder_are_all_of_it(folder: Path) -> None:
    whole = list_folder(folder, TEXTS)
    captions = list_folder(folder, TEXTS, CAPTIONS)
    assert {kind: files.names for kind, files in captions.texts.items()} == {
        ".txt": ["a.txt", "b.TXT"],
        ".tags": ["猫.tags"],
    }
    assert (captions.pictures.names, captions.others, captions.not_read) == ([], [], [])
    assert sorted_out(list_folder(folder, TEXTS, NO_CAPTIONS).with_captions(captions)) == sorted_out(whole)


@posix_only
def test_the_other_process_says_what_this_one_would(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = folder.parent / "missing"
    with CaptionsBeside([folder.parent, missing, folder], TEXTS) as captions:
        monkeypatch.setattr(module, "list_folder", None)  # it is not done here
        found = captions.of(folder)
    assert found == list_folder(folder, TEXTS, CAPTIONS)


@posix_only
def test_it_is_done_here_where_the_other_process_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list_folder(folder, TEXTS, CAPTIONS)
    with CaptionsBeside([folder], TEXTS) as captions:
        assert captions.process
        captions.process.kill()
        captions.process.wait()
        assert captions.of(folder.parent).folders == []
        assert captions.of(folder) == expected
    monkeypatch.setattr(sys, "executable", str(folder / "no python"))
    with CaptionsBeside([folder], TEXTS) as captions:
        assert captions.of(folder) == expected


@posix_only
def test_nothing_is_left_of_the_other_process(folder: Path) -> None:
    with CaptionsBeside([folder], TEXTS) as captions:
        process = captions.process
    assert process
    assert process.returncode is not None


SAME = """
import sys
from pathlib import Path
from tehon.data.plan.captions_beside import CaptionsBeside
from tehon.data.plan.entries import CAPTIONS
from tehon.data.plan.listing import list_folder

(folder,) = Path(sys.argv[1]).iterdir()
with CaptionsBeside([folder], (".txt", ".tags")) as captions:
    assert captions.of(folder) == list_folder(folder, (".txt", ".tags"), CAPTIONS)
print(sys.getfilesystemencoding())
"""


@posix_only
@pytest.mark.parametrize("mode", ["0", "1"])
def test_names_are_read_alike_whatever_the_letters_of_the_system(folder: Path, mode: str) -> None:
    """Python's UTF-8 mode can be switched on and off by a variable."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": mode}
    command = [sys.executable, "-c", SAME, str(folder.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip() == "utf-8") == (mode == "1") or sys.platform == "darwin"
