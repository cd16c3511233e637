"""Uploads: pictures and captions only, whole, under a name that stays in its folder."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tehon.messages.problem import Problem
from tehon.web.new_set import take_picture
from tehon.web.pictures import Pictures


def png(size: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(out, "PNG")
    return out.getvalue()


def test_pictures_and_captions_lie_in_kohyas_layout(tmp_path: Path) -> None:
    assert take_picture(tmp_path, 10, "my cat", "01.png", png()) == tmp_path / "10_my cat" / "01.png"
    take_picture(tmp_path, 10, "my cat", "01.txt", b"my cat")
    assert (tmp_path / "10_my cat" / "01.txt").read_bytes() == b"my cat"


@pytest.mark.parametrize(
    ("words", "name", "content", "key"),
    [
        ("cat", "a.png", b"not a picture", "upload_broken"),
        ("cat", "a.png", png()[:-30], "upload_broken"),
        ("cat", "a.txt", b"\xff\xfe\x00", "upload_broken"),
        ("cat", "a.exe", b"MZ", "upload_name"),
        ("cat", "a.svg", b"<svg onload='alert(1)'>", "upload_name"),
        ("cat", ".hidden.png", png(), "upload_name"),
        ("cat", "a<b.png", png(), "upload_name"),
        ("../cat", "a.png", png(), "upload_words"),
        ("", "a.png", png(), "upload_words"),
        ("..", "a.png", png(), "upload_words"),
    ],
)
def test_what_is_no_picture_or_could_lead_elsewhere_is_refused(
    tmp_path: Path, words: str, name: str, content: bytes, key: str
) -> None:
    with pytest.raises(Problem) as caught:
        take_picture(tmp_path / "in", 1, words, name, content)
    assert caught.value.key == key
    assert list(tmp_path.rglob("*.*")) == []


def test_a_path_in_a_name_is_dropped(tmp_path: Path) -> None:
    for name in ("../../evil.png", "..\\..\\evil2.png", "/etc/evil3.png"):
        assert take_picture(tmp_path, 1, "cat", name, png()).parent == tmp_path / "1_cat"


def test_a_picture_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    take_picture(tmp_path, 1, "cat", "a.png", png())
    with pytest.raises(Problem, match="already there"):
        take_picture(tmp_path, 1, "cat", "a.png", png(9))


def test_only_pictures_that_were_shown_have_an_address(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (900, 300), "red").save(file)
    pictures = Pictures(tmp_path / "thumbs")
    assert pictures.thumb("0" * 24) is None
    copy = pictures.thumb(pictures.token(file))
    assert copy is not None
    with Image.open(copy) as small:
        assert small.size == (320, 107)
    before = copy.stat().st_mtime_ns
    assert pictures.thumb(pictures.token(file)) == copy
    assert copy.stat().st_mtime_ns == before
    file.write_bytes(b"broken")
    assert pictures.thumb(pictures.token(file)) is None
