"""Where the caption of a picture comes from, and what is read of it."""

import os
from pathlib import Path
from typing import Any

import pytest

from tehon.data.plan.captions import Caption, caption_files, caption_suffixes, caption_text, read_captions
from tehon.data.plan.index import Index
from tehon.data.plan.listing import list_folder
from tehon.messages.problem import Problem


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "01.png").write_bytes(b"")
    return tmp_path / "01.png"


def found(picture: Path, extension: str = "", index: Path | None = None) -> Caption | Problem | None:
    """What is read beside one picture."""
    kept = Index(index or picture.parent / "cache")
    suffixes = caption_suffixes(extension)
    listing = list_folder(picture.parent, suffixes)
    captions = read_captions(listing, suffixes, kept, every_line=True)
    kept.close()
    number = listing.pictures.names.index(picture.name)
    text = captions.texts[number]
    return Caption(text, captions.sources[number]) if isinstance(text, str) else text


def file_of(picture: Path, extension: str = "") -> str:
    """The name of the caption file beside one picture."""
    listing = list_folder(picture.parent, caption_suffixes(extension))
    return caption_files(listing, extension)[listing.pictures.names.index(picture.name)]


def test_a_caption_file_comes_before_a_text_file(picture: Path) -> None:
    picture.with_suffix(".txt").write_text("from txt")
    assert found(picture) == Caption("from txt", ".txt")
    assert file_of(picture) == "01.txt"
    picture.with_suffix(".caption").write_text("from caption")
    assert found(picture) == Caption("from caption", ".caption")
    assert file_of(picture) == "01.caption"


def test_without_a_file_there_is_no_caption(picture: Path) -> None:
    assert found(picture) is None
    picture.with_suffix(".txt").mkdir()
    assert found(picture) is None


@pytest.mark.parametrize("extension", [".tags", "tags"])
def test_the_extension_may_be_given_with_or_without_its_dot(picture: Path, extension: str) -> None:
    picture.with_suffix(".tags").write_text("from tags")
    picture.with_suffix(".txt").write_text("from txt")
    assert found(picture, extension) == Caption("from tags", ".tags")


@pytest.mark.parametrize("name", ["01.TXT", "01.Txt"])
def test_the_extension_may_be_written_large(picture: Path, name: str) -> None:
    (picture.parent / name).write_text("from a camera")
    assert found(picture) == Caption("from a camera", name[2:])
    assert file_of(picture) == name


def test_a_given_extension_looks_for_no_other_file(picture: Path) -> None:
    picture.with_suffix(".txt").write_text("from txt")
    assert found(picture, ".caption") is None
    assert file_of(picture, ".caption") == "01.caption"


@pytest.mark.parametrize(("extension", "name"), [("", "01.txt"), ("tags", "01.tags"), (".Tags", "01.Tags")])
def test_a_new_caption_file_gets_the_extension_that_is_asked_for(picture: Path, extension: str, name: str) -> None:
    assert file_of(picture, extension) == name


def test_only_the_last_extension_of_the_picture_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "my.cat.v2.txt").write_text("found")
    (tmp_path / "my.cat.v2.png").write_bytes(b"")
    assert found(tmp_path / "my.cat.v2.png") == Caption("found", ".txt")


@pytest.mark.parametrize(
    ("content", "first", "lines"),
    [
        ("a cat", "a cat", "a cat"),
        ("  a cat \n", "a cat", "a cat"),
        ("a cat\nsecond line\n", "a cat", "a cat\nsecond line"),
        ("猫, 赤い首輪\n\n  \n犬\n", "猫, 赤い首輪", "猫, 赤い首輪\n犬"),
        ("", "", ""),
        ("   \n", "", ""),
        ("\nsecond line", "", "second line"),
    ],
)
def test_the_first_line_is_the_caption_or_with_wildcards_every_line(content: str, first: str, lines: str) -> None:
    assert caption_text(content, every_line=False) == first
    assert caption_text(content, every_line=True) == lines


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa cat", b"a cat"])
def test_a_mark_of_the_byte_order_is_no_part_of_the_caption(picture: Path, content: bytes) -> None:
    picture.with_suffix(".txt").write_bytes(content)
    assert found(picture) == Caption("a cat", ".txt")


@pytest.mark.parametrize("content", ["猫".encode("shift_jis"), "a cat".encode("utf-16"), b"\xe9t\xe9"])
def test_a_caption_that_is_not_utf8_is_named(picture: Path, content: bytes) -> None:
    file = picture.with_suffix(".txt")
    file.write_bytes(content)
    assert str(found(picture)) == f"{file}: the caption is not UTF-8 text; save it as UTF-8."


def test_a_caption_file_that_can_only_be_named_is_said_before_a_text_file(picture: Path) -> None:
    picture.with_suffix(".txt").write_text("from txt")
    link = picture.with_suffix(".caption")
    link.symlink_to(picture.parent / "nothing")
    assert str(found(picture)) == f"{link}: the file cannot be read (No such file or directory); check its permissions."


def test_a_caption_that_was_changed_or_removed_is_read_anew_and_others_are_not(
    picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tehon.data.plan.index.SETTLED", -(10**12))
    (picture.parent / "02.png").write_bytes(b"")
    for stem in ("01", "02"):
        (picture.parent / f"{stem}.txt").write_text(f"old {stem}")
    assert found(picture, index=tmp_path / "kept") == Caption("old 01", ".txt")
    opened: list[str] = []

    def noted(path: Any, *rest: Any, **more: Any) -> Any:
        opened.append(os.path.basename(path))
        return real(path, *rest, **more)

    real = open
    monkeypatch.setattr("builtins.open", noted)
    assert found(picture, index=tmp_path / "kept") == Caption("old 01", ".txt")
    assert opened == []
    with real(picture.with_suffix(".txt"), "w") as file:
        file.write("new 01")
    assert found(picture, index=tmp_path / "kept") == Caption("new 01", ".txt")
    assert opened == ["01.txt"]
    picture.with_suffix(".txt").unlink()
    assert found(picture, index=tmp_path / "kept") is None
    assert found(picture.with_name("02.png"), index=tmp_path / "kept") == Caption("old 02", ".txt")
    assert opened == ["01.txt"]


def test_of_two_files_of_one_name_all_pictures_of_it_get_the_same(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.TXT").write_text("large")
    (tmp_path / "a.txt").write_text("small")
    if len([*tmp_path.iterdir()]) == 4:  # the system tells large letters from small ones
        assert [found(tmp_path / name) for name in ("a.jpg", "a.png")] == [Caption("small", ".txt")] * 2
        assert [file_of(tmp_path / name) for name in ("a.jpg", "a.png")] == ["a.txt"] * 2
