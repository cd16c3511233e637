"""Sizes as the pictures are seen, and every damaged file found before the start."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tehon.data.plan import scan
from tehon.data.plan.entries import EXTENSIONS
from tehon.data.plan.images import measure, measure_here, open_upright
from tehon.data.plan.listing import list_folder
from tehon.data.plan.scan import measure_all
from tehon.messages.problem import Problem


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
    assert list_folder(tmp_path).pictures.names == sorted(names)


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_every_kind_of_picture_can_be_read(tmp_path: Path, extension: str) -> None:
    file = tmp_path / f"a{extension}"
    noise((40, 24)).save(file)
    assert measure(file).size == (40, 24)
    assert open_upright(file).size == (40, 24)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (20, 12)).save(file)
    assert measure(file).size == (20, 12)
    assert open_upright(file).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_exif_turns_the_picture_and_its_size(tmp_path: Path, extension: str, orientation: int) -> None:
    file = tmp_path / f"a{extension}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise((40, 24)).save(file, exif=exif)
    expected = (24, 40) if orientation >= 5 else (40, 24)
    assert measure(file).size == open_upright(file).size == expected


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
    assert measure(tmp_path / f"a{extension}").size == (side, 100)


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
    error = measure(file).error
    assert error
    assert len(error.splitlines()) == 1
    with pytest.raises(Problem) as caught:
        open_upright(file)
    assert str(caught.value).startswith(f"{file}: the picture cannot be read (")


def test_a_text_file_named_png_is_called_not_a_picture(tmp_path: Path) -> None:
    text_file(tmp_path / "a.png")
    assert measure(tmp_path / "a.png").error == "not a picture"


def test_a_picture_that_unpacks_to_far_too_much_is_not_unpacked(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    assert "decompression bomb" in measure(tmp_path / "bomb.png").error


def test_what_moves_and_what_is_transparent_is_seen(tmp_path: Path) -> None:
    frames = [noise((40, 24)) for _ in range(3)]
    frames[0].save(tmp_path / "moves.webp", save_all=True, append_images=frames[1:])
    frames[0].convert("RGBA").save(tmp_path / "still.png")
    moves, still = measure(tmp_path / "moves.webp"), measure(tmp_path / "still.png")
    assert (moves.size, moves.animated, moves.alpha) == ((40, 24), True, False)
    assert (still.size, still.animated, still.alpha) == ((40, 24), False, True)


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "c.png")
    a, b, c = (measure(tmp_path / name).digest for name in ("a.png", "b.png", "c.png"))
    assert a == b != c
    assert len(a) == 16


def test_a_picture_with_the_extension_of_another_kind_is_read(tmp_path: Path) -> None:
    noise((40, 24)).save(tmp_path / "a.png", "JPEG")
    assert measure(tmp_path / "a.png").size == (40, 24)


def test_pictures_are_measured_in_their_order(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.png" for n in range(20)]
    for n, file in enumerate(files):
        Image.new("RGB", (10 + n, 50)).save(file)
    assert [one.size for one in measure_here(reversed(files))] == [(10 + n, 50) for n in reversed(range(20))]
    assert measure_here([]) == []


def test_many_pictures_are_measured_by_processes_in_their_order(tmp_path: Path) -> None:
    names = ["猫 1.png", "b.png", "half.png", "poem.png"]
    for n, name in enumerate(names):
        Image.new("RGB", (10 + n, 50)).save(tmp_path / name)
    cut(tmp_path / "half.png", 0.6)
    text_file(tmp_path / "poem.png")
    paths = [str(tmp_path / names[n % 4]) for n in range(1001)]
    found = measure_all(paths, workers=2)
    assert found == [measure(path) for path in paths[:4]] * 250 + [measure(paths[0])]


def test_a_decoder_that_crashes_takes_only_its_picture_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash is made by code that each new Python runs at its start. Of few pictures at once, since each that shares
    a process with the bad one is measured by another of its own."""
    monkeypatch.setattr(scan, "FEW", 10)
    monkeypatch.setattr(scan, "_CHUNK", 4)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os\nfrom PIL import Image\nreal = Image.open\n"
        "def open(file, *rest):\n    return os._exit(11) if b'crash' in file.getvalue() else real(file, *rest)\n"
        "Image.open = open\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    noise((40, 24)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"crash")
    paths = [str(tmp_path / ("bad.png" if n == 5 else "good.png")) for n in range(11)]
    found = measure_all(paths, workers=1)
    assert [one.error for one in found if one.error] == ["the decoder crashed"]
    assert found[5].error


def test_measuring_leaves_the_warnings_of_others_alone(tmp_path: Path) -> None:
    """Threads that each silence and restore the warnings restore each other's silence."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    before = list(warnings.filters)
    with warnings.catch_warnings():
        for _ in range(10):
            measure_here([tmp_path / "a.png"] * 200)
        after = list(warnings.filters)
    assert after == before


def test_transparency_and_depth_are_shown_as_they_are_trained(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    assert open_upright(tmp_path / "clear.png", "#102030").getpixel((0, 0)) == (16, 32, 48)
    Image.new("I;16", (8, 8), 257 * 100).save(tmp_path / "deep.png")
    assert open_upright(tmp_path / "deep.png").getpixel((0, 0)) == (100, 100, 100)
