from pathlib import Path

import pytest
import torch
from PIL import Image

from tehon.data.feed.pixels import read_pixels
from tehon.data.feed.store import LatentStore
from tehon.data.plan.buckets import Placement
from tehon.messages.problem import Problem


def picture(path: Path, size: tuple[int, int]) -> Path:
    image = Image.new("RGB", size)
    image.putdata([(x * 255 // size[0], y * 255 // size[1], 0) for y in range(size[1]) for x in range(size[0])])
    image.save(path)
    return path


def test_the_middle_is_cut_out(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png", (96, 64))
    pixels = read_pixels(file, Placement(bucket=(64, 64), resized=(96, 64)))
    assert pixels.shape == (3, 64, 64)
    expected = torch.tensor([x * 255 // 96 for x in range(16, 80)]) / 127.5 - 1
    assert torch.allclose(pixels[0, 0], expected)


def test_a_picture_is_scaled_before_it_is_cut(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png", (192, 128))
    pixels = read_pixels(file, Placement(bucket=(96, 64), resized=(96, 64)))
    assert pixels.shape == (3, 64, 96)
    assert pixels[0, 32, 48] == pytest.approx(0, abs=0.03)


def test_a_picture_on_its_side_is_turned(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 32), "black")
    image.paste("red", (0, 0, 8, 32))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    pixels = read_pixels(tmp_path / "a.png", Placement(bucket=(32, 64), resized=(32, 64)))
    assert pixels[0, :8].mean() == 1
    assert pixels[0, 8:].mean() == -1


def test_the_store_encodes_buckets_together_and_draws_from_the_posterior(tmp_path: Path) -> None:
    square, wide = Placement((64, 64), (64, 64)), Placement((96, 64), (96, 64))
    rows = [
        (picture(tmp_path / f"{i}.png", place.bucket), place) for i, place in enumerate([square, wide, square, square])
    ]
    shapes: list[tuple[int, ...]] = []

    def encode(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shapes.append(tuple(pixels.shape))
        return pixels[:, :, ::8, ::8], torch.full_like(pixels[:, :, ::8, ::8], 0.5)

    store = LatentStore(rows, encode, batch_size=2)
    assert sorted(shapes) == [(1, 3, 64, 64), (1, 3, 64, 96), (2, 3, 64, 64)]
    assert store.shape(1) == (3, 8, 12)
    noise = torch.randn(2, 3, 8, 8)
    drawn = store.draw([0, 3], noise)
    mean = read_pixels(*rows[0])[:, ::8, ::8]
    assert torch.allclose(drawn[0], mean + 0.5 * noise[0])


def test_a_latent_that_is_not_finite_is_named(tmp_path: Path) -> None:
    row = (picture(tmp_path / "bad.png", (64, 64)), Placement((64, 64), (64, 64)))
    with pytest.raises(Problem, match=r"bad\.png"):
        LatentStore([row], lambda pixels: (pixels * float("nan"), pixels), 1)
