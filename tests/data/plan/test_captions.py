"""Where the caption of a picture comes from, and what is read of it."""

from pathlib import Path

import pytest

from tehon.data.plan.captions import CLASS_WORDS, Caption, find_caption
from tehon.messages.problem import Problem


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return tmp_path / "01.png"


def test_a_caption_file_comes_before_a_text_file(picture: Path) -> None:
    picture.with_suffix(".txt").write_text("from txt")
    assert find_caption(picture, "cat", "") == Caption("from txt", ".txt")
    picture.with_suffix(".caption").write_text("from caption")
    assert find_caption(picture, "cat", "") == Caption("from caption", ".caption")


def test_without_a_file_the_words_of_the_folder_are_the_caption(picture: Path) -> None:
    assert find_caption(picture, "a red cat", "") == Caption("a red cat", CLASS_WORDS)
    picture.with_suffix(".txt").mkdir()
    assert find_caption(picture, "a red cat", "") == Caption("a red cat", CLASS_WORDS)


@pytest.mark.parametrize("extension", [".tags", "tags"])
def test_the_extension_may_be_given_with_or_without_its_dot(picture: Path, extension: str) -> None:
    picture.with_suffix(".tags").write_text("from tags")
    picture.with_suffix(".txt").write_text("from txt")
    assert find_caption(picture, "cat", extension) == Caption("from tags", ".tags")


def test_a_given_extension_looks_for_no_other_file(picture: Path) -> None:
    picture.with_suffix(".txt").write_text("from txt")
    assert find_caption(picture, "cat", ".caption") == Caption("cat", CLASS_WORDS)


def test_only_the_last_extension_of_the_picture_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "my.cat.v2.txt").write_text("found")
    assert find_caption(tmp_path / "my.cat.v2.png", "cat", "").text == "found"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a cat", "a cat"),
        (b"  a cat \n", "a cat"),
        (b"a cat\r\nsecond line\r\n", "a cat"),
        (b"\xef\xbb\xbfa cat", "a cat"),
        ("猫, 赤い首輪\n".encode(), "猫, 赤い首輪"),
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
        (b"   \n", ""),
        (b"\nsecond line", ""),
    ],
)
def test_the_first_line_is_the_caption(picture: Path, content: bytes, text: str) -> None:
    picture.with_suffix(".txt").write_bytes(content)
    assert find_caption(picture, "cat", "") == Caption(text, ".txt")


@pytest.mark.parametrize("content", ["猫".encode("shift_jis"), "a cat".encode("utf-16"), b"\xe9t\xe9"])
def test_a_caption_that_is_not_utf8_is_named(picture: Path, content: bytes) -> None:
    file = picture.with_suffix(".txt")
    file.write_bytes(content)
    with pytest.raises(Problem) as caught:
        find_caption(picture, "cat", "")
    assert str(caught.value) == f"{file}: the caption is not UTF-8 text; save it as UTF-8."
