"""Sizes as the pictures are seen, and every damaged file found before the start."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tehon.data.plan.images import EXTENSIONS, open_upright, picture_files, sizes, upright_size
from tehon.messages.problem import Problem, Problems


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", size, os.urandom(size[0] * size[1] * 3))


def cut(file: Path, share: float) -> Path:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


def test_pictures_are_found_by_extension_in_any_case_and_sorted(tmp_path: Path) -> None:
    names = ["b.PNG", "a.jpg", "c.JpEg", "d.webp", "e.BMP", "f.avif"]
    for name in [*names, "a.txt", "g.gif", "png", ".png", "h.png.txt"]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [file.name for file in picture_files(tmp_path)] == sorted(names)


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_every_kind_of_picture_can_be_read(tmp_path: Path, extension: str) -> None:
    file = tmp_path / f"a{extension}"
    noise((40, 24)).save(file)
    assert upright_size(file) == (40, 24)
    assert open_upright(file).size == (40, 24)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (20, 12)).save(file)
    assert upright_size(file) == (20, 12)
    assert open_upright(file).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_exif_turns_the_picture_and_its_size(tmp_path: Path, extension: str, orientation: int) -> None:
    file = tmp_path / f"a{extension}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise((40, 24)).save(file, exif=exif)
    expected = (24, 40) if orientation >= 5 else (40, 24)
    assert upright_size(file) == open_upright(file).size == expected


def test_exif_puts_the_top_on_top(tmp_path: Path) -> None:
    """Orientation 6: the camera was turned, so the left of what is stored is the top of what was seen."""
    stored = Image.new("RGB", (40, 24), "blue")
    stored.paste("red", (0, 0, 20, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "a.png", exif=exif)
    upright = open_upright(tmp_path / "a.png")
    assert upright.getpixel((12, 2)) == (255, 0, 0)
    assert upright.getpixel((12, 37)) == (0, 0, 255)


@pytest.mark.parametrize("side", [1, 7, 8, 9])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_picture_of_a_few_pixels_has_a_size(tmp_path: Path, extension: str, side: int) -> None:
    noise((side, 100)).save(tmp_path / f"a{extension}")
    assert upright_size(tmp_path / f"a{extension}") == (side, 100)


def text_file(file: Path) -> None:
    file.write_text("a poem about a cat")


def empty_file(file: Path) -> None:
    file.write_bytes(b"")


def half_of_png(file: Path) -> None:
    noise((64, 64)).save(file, "PNG")
    cut(file, 0.5)


def nearly_all_of_png(file: Path) -> None:
    noise((64, 64)).save(file, "PNG")
    cut(file, 0.9)


def half_of_jpeg(file: Path) -> None:
    noise((64, 64)).save(file, "JPEG")
    cut(file, 0.5)


def nearly_all_of_jpeg(file: Path) -> None:
    noise((64, 64)).save(file, "JPEG")
    cut(file, 0.9)


def head_of_png_alone(file: Path) -> None:
    noise((64, 64)).save(file, "PNG")
    file.write_bytes(file.read_bytes()[:40])


def flipped_bytes(file: Path) -> None:
    noise((64, 64)).save(file, "PNG")
    content = bytearray(file.read_bytes())
    content[2000:2100] = bytes(100)
    file.write_bytes(bytes(content))


DAMAGE = [
    text_file,
    empty_file,
    half_of_png,
    nearly_all_of_png,
    half_of_jpeg,
    nearly_all_of_jpeg,
    head_of_png_alone,
    flipped_bytes,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_picture_is_named_with_the_reason(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / ("a.jpg" if "jpeg" in damage.__name__ else "a.png")
    damage(file)
    with pytest.raises(Problem) as caught:
        upright_size(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file}: the picture cannot be read (")
    assert len(sentence.splitlines()) == 1
    assert "()" not in sentence


def test_a_text_file_named_png_is_called_not_a_picture(tmp_path: Path) -> None:
    text_file(tmp_path / "a.png")
    with pytest.raises(Problem, match=r"a\.png: the picture cannot be read \(not a picture\)"):
        upright_size(tmp_path / "a.png")


def test_a_picture_with_the_extension_of_another_kind_is_read(tmp_path: Path) -> None:
    noise((40, 24)).save(tmp_path / "a.png", "JPEG")
    assert upright_size(tmp_path / "a.png") == (40, 24)


def test_all_damaged_pictures_are_told_at_once(tmp_path: Path) -> None:
    good, text, half = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    noise((40, 24)).save(good)
    text_file(text)
    half_of_png(half)
    with pytest.raises(Problems) as caught:
        sizes([text, good, half])
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [str(text), str(half)]


def test_sizes_come_in_the_order_of_the_pictures(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.png" for n in range(20)]
    for n, file in enumerate(files):
        Image.new("RGB", (10 + n, 50)).save(file)
    assert sizes(reversed(files)) == [(10 + n, 50) for n in reversed(range(20))]
    assert sizes([]) == []


def test_reading_sizes_leaves_the_warnings_of_others_alone(tmp_path: Path) -> None:
    """Threads that each silence and restore the warnings restore each other's silence."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    before = list(warnings.filters)
    with warnings.catch_warnings():
        for _ in range(10):
            sizes([tmp_path / "a.png"] * 200)
        after = list(warnings.filters)
    assert after == before
