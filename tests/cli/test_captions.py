"""`tehon captions`: what is counted, changed, only shown, and taken back."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tehon.cli.main import main
from tehon.planning.plan import make_plan
from tehon.settings.files import validate

CAPTIONS = {"a/1.png": "owl, red, owl", "a/2.png": "red, sitting", "b/c/3.jpg": "owl", "b/4.webp": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "set"
    for name, text in CAPTIONS.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
        if text is not None:
            file.with_suffix(".txt").write_text(text + "\n", "utf8")
    return place


def texts(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text("utf8").strip() for file in sorted(folder.rglob("*.txt"))}


def test_tags_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", "list", str(folder), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data == {
        "pictures": 4,
        "captions": 3,
        "lines_left_out": 0,
        "tags": [
            {"tag": "owl", "captions": 2},
            {"tag": "red", "captions": 2},
            {"tag": "sitting", "captions": 1},
        ],
    }
    assert main(["captions", "list", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("4 pictures, 3 of them with a caption, 3 tags\n     2  owl\n")


def test_tags_are_counted_as_their_lines_are_trained(
    folder: Path, tree: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle is the plan's captions of the same folder: the first line alone, or any one of them."""
    (folder / "b" / "4.txt").write_text("owl, flying\r\n\r\nowl, a lake, red\n", "utf8")
    (folder / "b" / "c" / "3.txt").write_text("\nowl\n", "utf8")  # a first line that is blank is the caption
    (folder / "a" / "1.txt").write_text("red\n \n", "utf8")
    for words, every_line, left_out in (([], False, 2), (["--every-line"], True, 0)):
        assert main(["captions", "list", str(folder), "--json", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        tree["data"] = {"sets": [{"folder": str(folder / name), "repeats": 1} for name in ("a", "b", "b/c")]}
        tree["data"] |= {"resolution": 64, "enable_wildcard": every_line}
        said = [re.split(r"\s*[,\n]\s*", text) for text in make_plan(validate(tree)).pictures.texts]
        own = Counter(tag for tags in said for tag in {*tags} if tag)
        assert {row["tag"]: row["captions"] for row in found["tags"]} == own
        assert found["lines_left_out"] == left_out
    assert main(["captions", "list", str(folder)]) == 0
    assert "2 captions have more than one line; the first alone is counted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["add", "FOLDER", "mofu, red"],
            {"1": "owl, red, owl, mofu", "2": "red, sitting, mofu", "3": "owl, mofu, red"},
        ),
        (
            ["add", "FOLDER", "mofu", "--first"],
            {"1": "mofu, owl, red, owl", "2": "mofu, red, sitting", "3": "mofu, owl"},
        ),
        (["remove", "FOLDER", "owl"], {"1": "red", "2": "red, sitting", "3": ""}),
        (["replace", "FOLDER", "red", "blue"], {"1": "owl, blue", "2": "blue, sitting", "3": "owl"}),
        (["replace", "FOLDER", "ow", "ew", "--text"], {"1": "ewl, red, ewl", "2": "red, sitting", "3": "ewl"}),
        (["sort", "FOLDER", "--keep", "1"], {"1": "owl, owl, red", "2": "red, sitting", "3": "owl"}),
        (["dedupe", "FOLDER"], {"1": "owl, red", "2": "red, sitting", "3": "owl"}),
    ],
)
def test_edits_are_shown_made_and_taken_back(
    words: list[str], expected: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(folder)
    words = ["captions", *(str(folder) if word == "FOLDER" else word for word in words)]
    assert main([*words, "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert texts(folder) == before, "a dry run writes nothing"
    assert not shown["written"]
    assert {Path(row["file"]).stem: row["after"] for row in shown["changes"]} == {
        name: text for name, text in expected.items() if text != before[name]
    }
    assert main(words) == 0
    assert texts(folder) == expected
    count = len(shown["changes"])
    assert f"{count} caption{'s' if count > 1 else ''} changed" in capsys.readouterr().out
    assert main(["captions", "undo", str(folder)]) == 0
    assert texts(folder) == before
    assert list(folder.rglob(".*")) == [], "nothing is left of the list of changes"


def test_changes_are_taken_back_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tag in ("x", "y"):
        assert main(["captions", "add", str(folder), tag]) == 0
    for left in ("owl, x", "owl"):
        assert main(["captions", "undo", str(folder)]) == 0
        assert texts(folder)["3"] == left
    assert main(["captions", "undo", str(folder)]) == 2
    assert "no change of its captions is remembered" in capsys.readouterr().err


@pytest.mark.parametrize("killed", ["add", "undo"])
def test_what_a_killed_change_has_left_goes_with_the_next(
    folder: Path, killed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["captions", "add", str(folder), "night"]) == 0
    beside = next(folder.rglob("*.txt")).parent
    for place in (folder, beside):
        (place / ".01.txt.tehon-0123abcd").write_text("half")
    assert main(["captions", killed, str(folder), *(["moon"] if killed == "add" else [])]) == 0
    assert not list(folder.rglob("*.tehon-0123abcd"))


def test_what_somebody_else_changed_since_is_not_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", "add", str(folder), "x"]) == 0
    (folder / "a" / "2.txt").write_text("by hand")
    before = texts(folder)
    assert main(["captions", "undo", str(folder)]) == 2
    assert "2.txt: this file was changed by something else since" in capsys.readouterr().err
    assert texts(folder) == before


def test_a_list_of_changes_cannot_name_files_elsewhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = folder.parent / "mine.txt"
    outside.write_text("new")
    broken = ('[{"a\\u0000.txt": ["old", "new"]}]', '[{"a.txt": ["\\ud800", "new"]}]')
    for content in ('[{"../mine.txt": ["old", "new"]}]', "[1]", "{", '[{"a": "b"}]', *broken):
        (folder / ".tehon-captions.json").write_text(content)
        assert main(["captions", "undo", str(folder)]) == 2
        assert "this list of changes is damaged" in capsys.readouterr().err
    assert outside.read_text() == "new"


def test_lines_are_captions_of_their_own(folder: Path) -> None:
    file = folder / "a" / "1.txt"
    file.write_text("owl, owl\n\nred, red", "utf8")
    assert main(["captions", "dedupe", str(folder)]) == 0
    assert file.read_text("utf8") == "owl\n\nred\n"


def test_the_extension_decides_which_files(folder: Path) -> None:
    (folder / "a" / "1.caption").write_text("a sentence", "utf8")
    assert main(["captions", "add", str(folder), "x", "--extension", "txt"]) == 0
    assert (folder / "a" / "1.caption").read_text("utf8") == "a sentence"
    assert texts(folder)["1"] == "owl, red, owl, x"
    assert main(["captions", "add", str(folder), "y"]) == 0
    assert (folder / "a" / "1.caption").read_text("utf8") == "a sentence, y\n"


def test_captions_that_are_trained_on_are_edited_however_their_extension_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a" / "1.txt").rename(folder / "a" / "1.TXT")
    for more in ([], ["--extension", "txt"], ["--extension", ".TXT"]):
        assert main(["captions", "list", str(folder), *more]) == 0
        assert "4 pictures, 3 of them with a caption" in capsys.readouterr().out
    assert main(["captions", "add", str(folder / "a"), "x"]) == 0
    assert (folder / "a" / "1.TXT").read_text("utf8") == "owl, red, owl, x\n"
    assert sorted(file.name for file in (folder / "a").glob("1*")) == ["1.TXT", "1.png"]
    assert main(["captions", "undo", str(folder / "a")]) == 0
    assert (folder / "a" / "1.TXT").read_text("utf8") == "owl, red, owl\n"


def test_what_can_be_put_right_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", "list", str(folder / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert main(["captions", "replace", str(folder), "", "x"]) == 2
    assert "what is to be replaced is empty" in capsys.readouterr().err
    (folder / "a" / "1.txt").write_bytes(b"\xff\xfe")
    assert main(["captions", "dedupe", str(folder)]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    for words, sentence in (
        (["list", "--extension", "../x"], "--extension: ../x is no ending of a caption file"),
        (["list", "--extension", "."], "--extension: . is no ending of a caption file"),
        (["add", "--extension", "PNG", "x"], "--extension: PNG is no ending of a caption file"),
        (["add", "a\nb"], "a line break would make two captions of one"),
        (["add", " , "], "name at least one"),
        (["sort", "--keep", "-1"], "--keep: -1 is too small"),
        (["tag", "--model", "x", "--batch", "0"], "--batch: 0 is too small"),
        (["tag", "--model", "x", "--character-threshold", "0"], "--character-threshold: 0.0 does not fit"),
    ):
        assert main(["captions", words[0], str(folder), *words[1:]]) == 2
        assert sentence in capsys.readouterr().err


def test_an_edit_that_changes_nothing_says_so_and_is_not_remembered(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["captions", "add", str(folder), "x"]) == 0
    (folder / "a" / "2.txt").write_bytes(b"owl, x\r\nred, x\r\n")
    capsys.readouterr()
    assert main(["captions", "dedupe", str(folder / "a"), "--dry-run"]) == 0
    assert main(["captions", "add", str(folder), "x"]) == 0
    assert "no caption had to be changed" in capsys.readouterr().out
    assert (folder / "a" / "2.txt").read_bytes() == b"owl, x\r\nred, x\r\n"
