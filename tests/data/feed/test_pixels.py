"""Pictures of every kind, against colours worked out by hand or by another program's formula."""

import colorsys
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tehon.data.feed.pixels import Piece, read_piece, shifted
from tehon.data.feed.scaling import area, scaled
from tehon.data.plan.buckets import Placement
from tehon.data.plan.variation import Look, Shift, Source
from tehon.messages.problem import Problem


def read(file: Path, resized: tuple[int, int] | None = None, look: Look | None = None, **source: Any) -> Piece:
    with Image.open(file) as picture:
        size = resized or picture.size
    placement = source.pop("placement", Placement(bucket=size, resized=size))
    return read_piece(Source(file, "", placement, **source), look or Look(placement.crop))


def noise(size: tuple[int, int], channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)


def exact_area(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Each new pixel by a sum over all old ones, weighted with the share that it covers of them."""

    def shares(old: int, new: int) -> NDArray[np.float64]:
        edges, cells = np.arange(new + 1) * old / new, np.arange(old)
        low = np.maximum(edges[:-1, None], cells)
        return np.clip(np.minimum(edges[1:, None], cells + 1) - low, 0, None) * new / old

    rows = np.tensordot(shares(pixels.shape[0], size[1]), pixels.astype(float), (1, 0))
    return np.tensordot(shares(pixels.shape[1], size[0]), rows, (1, 1)).swapaxes(0, 1)


def save(path: Path, array: NDArray[Any] | Image.Image, **options: Any) -> Path:
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


@given(st.tuples(st.integers(8, 90), st.integers(8, 90)), st.tuples(st.integers(1, 60), st.integers(1, 60)))
@example((8, 50), (8, 10))
@example((24, 24), (24, 8))
def test_area_is_the_mean_of_what_a_pixel_covers(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = noise(old)
    small = np.asarray(area(Image.fromarray(pixels), new)).astype(float)
    # Whole factors are Pillow's, which rounds a little off; the mean itself is exact to the last digits of a float64.
    assert np.abs(small - exact_area(pixels, new)).max() <= 0.6 + 1e-9


def test_auto_is_area_to_shrink_and_lanczos_to_enlarge() -> None:
    picture = Image.fromarray(noise((40, 30)))
    for size, name in (((25, 20), "area"), ((40, 20), "area"), ((60, 45), "lanczos"), ((30, 45), "lanczos")):
        assert scaled(picture, size, "auto").tobytes() == scaled(picture, size, name).tobytes()
    lanczos = picture.resize((60, 45), Image.Resampling.LANCZOS)
    assert scaled(picture, (60, 45), "auto").tobytes() == lanczos.tobytes()


def test_every_interpolation_is_one_of_its_own(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", noise((64, 64)))
    kinds = ["auto", "lanczos", "bicubic", "bilinear", "nearest"]
    results = {kind: read(file, (40, 40), interpolation=kind).pixels.tobytes() for kind in kinds}
    assert len(set(results.values())) == len(kinds)
    assert results["auto"] == read(file, (40, 40), interpolation="area").pixels.tobytes()


def test_a_jpeg_decoded_small_is_as_good_as_a_whole_one(tmp_path: Path) -> None:
    """Against the exact mean of the whole decoding. Rounding alone makes 0.25 of 255; a smooth photo of 12 million
    pixels differs by 0.27, and this one, all grain, by 0.75 with a maximum of 4."""
    rough = Image.fromarray(noise((100, 75))).resize((1600, 1200), Image.Resampling.BICUBIC)
    fine = np.asarray(rough).astype(float) + np.random.default_rng(1).normal(0, 6, (1200, 1600, 3))
    file = save(tmp_path / "a.jpg", fine.clip(0, 255).astype(np.uint8), quality=92)
    with Image.open(file) as picture:
        whole = exact_area(np.asarray(picture), (300, 225))
    difference = np.abs(read(file, (300, 225)).pixels - whole)
    assert difference.mean() < 1
    assert difference.max() < 5
    with Image.open(file) as picture:
        picture.draft(None, (600, 450))
        assert picture.size == (800, 600), "the test is of a picture that is decoded small"


def test_an_upright_draft_of_a_picture_on_its_side_is_large_enough(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((400, 1600, 3), np.uint8)
    pixels[:, :800] = 255
    file = save(tmp_path / "a.jpg", pixels, exif=exif)
    piece = read(file, (100, 400), placement=Placement((100, 400), (100, 400)))
    assert piece.pixels[:199].min() > 250
    assert piece.pixels[201:].max() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int, tmp_path: Path) -> None:
    upright = noise((32, 24))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    assert np.array_equal(read(file, (32, 24)).pixels, upright)


def test_palettes_and_grey_and_two_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert (read(save(tmp_path / "p.png", palette)).pixels == (200, 100, 50)).all()
    palette.paste(0, (0, 0, 16, 8))
    clear = read(save(tmp_path / "t.png", palette, transparency=0), background="#102030").pixels
    assert (clear[:8] == (16, 32, 48)).all()
    assert (clear[8:] == (200, 100, 50)).all()
    assert (read(save(tmp_path / "l.png", Image.new("L", (8, 8), 77))).pixels == 77).all()
    assert (read(save(tmp_path / "1.png", Image.new("1", (8, 8), 1))).pixels == 255).all()
    grey = Image.merge("LA", [Image.new("L", (8, 8), 90), Image.new("L", (8, 8), 0)])
    assert (read(save(tmp_path / "la.png", grey), background="red").pixels == (255, 0, 0)).all()


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 256 * 8).astype(np.uint16).reshape(8, 256)
    pixels = read(save(tmp_path / "a.png", Image.fromarray(levels))).pixels
    assert np.abs(pixels - (levels / 257)[..., None]).max() <= 0.51
    colours = np.stack([levels, levels[::-1], levels], -1)
    pixels = read(png16(tmp_path / "b.png", colours)).pixels
    assert np.abs(pixels - colours / 257).max() <= 1


def png16(path: Path, pixels: NDArray[np.uint16]) -> Path:
    """A PNG of 16 bits a channel, which Pillow can read and not write."""
    import struct
    import zlib

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def test_cmyk_is_the_colour_that_its_inks_leave(tmp_path: Path) -> None:
    file = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 128, 255, 0)), quality=100)
    assert np.abs(read(file).pixels.astype(int) - (255, 127, 0)).max() <= 2


def test_transparency_shows_the_background_and_leaves_no_fringe(tmp_path: Path) -> None:
    """Green is hidden under the transparent half; after scaling no pixel may be greener than red on white can be."""
    pixels = np.zeros((63, 63, 4), np.uint8)
    pixels[:, :31] = (255, 0, 0, 255)
    pixels[:, 31:] = (0, 255, 0, 0)
    file = save(tmp_path / "a.png", pixels)
    for kind in ("auto", "lanczos", "bicubic", "bilinear"):
        shown = read(file, (20, 20), interpolation=kind).pixels.astype(int)
        assert (shown[:, 0] == (255, 0, 0)).all()
        assert (shown[:, -1] == 255).all()
        assert (shown[..., 0] >= 252).all(), kind
        assert np.abs(shown[..., 1] - shown[..., 2]).max() <= 3, kind
    assert (read(file, background="blue").pixels[:, -1] == (0, 0, 255)).all()


def test_a_half_transparent_colour_is_mixed(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", Image.new("RGBA", (8, 8), (200, 0, 100, 128)))
    expected = np.array((200, 0, 100)) * 128 / 255 + np.array((0, 100, 0)) * 127 / 255
    assert np.abs(read(file, background="#006400").pixels - expected).max() <= 1


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged, made by exchanging two tags of Pillow's profile."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = data[blue + 4 : blue + 12], data[red + 4 : red + 12]
    return bytes(data)


def test_colours_are_taken_through_their_profile(tmp_path: Path) -> None:
    pixels = noise((16, 16))
    turned = read(save(tmp_path / "a.png", pixels, icc_profile=swapped_profile()))
    assert not turned.bad_profile
    assert np.abs(turned.pixels.astype(int) - pixels[..., ::-1]).max() <= 3
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(read(save(tmp_path / "b.png", pixels, icc_profile=same)).pixels.astype(int) - pixels).max() <= 1
    alpha = np.concatenate([pixels, np.full((16, 16, 1), 255, np.uint8)], -1)
    alpha[:8, :, 3] = 0
    shown = read(save(tmp_path / "c.png", alpha, icc_profile=swapped_profile()), background="#0000ff").pixels
    assert (shown[:8] == (0, 0, 255)).all(), "the background is sRGB already"
    assert np.abs(shown[8:].astype(int) - pixels[8:, :, ::-1]).max() <= 3


@pytest.mark.parametrize("kind", ["nonsense", "cut", "of another mode"])
def test_a_broken_profile_is_left_out_and_said(kind: str, tmp_path: Path) -> None:
    whole = swapped_profile()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profile = {"nonsense": b"x" * 200, "cut": whole[:150], "of another mode": lab}[kind]
    pixels = noise((16, 16))
    piece = read(save(tmp_path / "a.png", pixels, icc_profile=profile))
    assert piece.bad_profile
    assert np.array_equal(piece.pixels, pixels)


def test_a_look_cuts_then_mirrors(tmp_path: Path) -> None:
    pixels = noise((100, 64))
    file = save(tmp_path / "a.png", pixels)
    placement = Placement(bucket=(64, 64), resized=(100, 64))
    cut = read(file, placement=placement, look=Look((10, 0))).pixels
    assert np.array_equal(cut, pixels[:, 10:74])
    flipped = read(file, placement=placement, look=Look((10, 0), flip=True)).pixels
    assert np.array_equal(flipped, pixels[:, 10:74][:, ::-1])


def test_a_mask_is_cut_mirrored_and_averaged_like_the_picture(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", noise((128, 64)))
    mask = np.zeros((32, 64), np.uint8)  # half the picture's size
    mask[:, 4:16] = 255
    mask_file = save(tmp_path / "m.png", mask)
    placement = Placement(bucket=(64, 64), resized=(128, 64))
    seen = read(file, placement=placement, look=Look((0, 0)), mask=mask_file).mask
    assert seen is not None
    assert seen.shape == (8, 8)
    assert (seen == [0, 255, 255, 255, 0, 0, 0, 0]).all()
    flipped = read(file, placement=placement, look=Look((0, 0), flip=True), mask=mask_file).mask
    assert flipped is not None
    assert np.array_equal(flipped, seen[:, ::-1])
    shifted_by_four = read(file, placement=placement, look=Look((4, 0)), mask=mask_file).mask
    assert shifted_by_four is not None
    assert (shifted_by_four[0, :4] == (128, 255, 255, 128)).all()


def test_transparency_as_mask(tmp_path: Path) -> None:
    alpha = np.full((64, 64, 4), 200, np.uint8)
    alpha[:, :32, 3] = 0
    alpha[:, 32:, 3] = 255
    seen = read(save(tmp_path / "a.png", alpha), alpha_mask=True).mask
    assert seen is not None
    assert (seen == [0] * 4 + [255] * 4).all()
    opaque = read(save(tmp_path / "b.png", alpha[..., :3]), alpha_mask=True).mask
    assert opaque is not None
    assert (opaque == 255).all()
    assert read(tmp_path / "a.png").mask is None


@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(-180, 180))
def test_a_turned_hue_is_that_of_colorsys(colour: tuple[int, int, int], degrees: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    expected = np.array(colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)) * 255
    turned = shifted(np.array([[colour]], np.uint8), Shift(hue=degrees))
    assert np.abs(turned[0, 0] - expected).max() <= 0.51


def test_gamma_makes_lighter_or_darker_on_0_to_255() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    for gamma in (0.95, 1.05):
        expected = np.clip(np.arange(256.0) ** gamma, 0, 255)
        assert np.abs(shifted(levels, Shift(gamma=gamma))[0, :, 1] - expected).max() <= 0.51
    assert np.array_equal(shifted(levels, Shift()), levels)


def test_a_picture_that_is_gone_or_cut_is_named(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", noise((64, 64)))
    source = Source(file, "", Placement((64, 64), (64, 64)))
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(Problem, match=r"a\.png"):
        read_piece(source, Look((0, 0)))
    file.unlink()
    with pytest.raises(Problem, match=r"a\.png"):
        read_piece(source, Look((0, 0)))


def test_loader_processes_start_without_torch() -> None:
    import subprocess
    import sys

    code = "import tehon.data.feed.views, tehon.data.feed.loader, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_wide_colours_stay_within_bytes() -> None:
    """A file in memory of every mode that Pillow writes as PNG comes out as RGB bytes."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        stream = io.BytesIO()
        Image.new(mode, (8, 8)).save(stream, "PNG")
        assert stream.getvalue()
