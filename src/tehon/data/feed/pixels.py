"""A picture file to the pixels that the VAE sees. Loader processes import this module, so it needs no torch.

>>> read_piece(source, Look(crop=source.placement.crop)).pixels.shape
(512, 512, 3)

The order is: decode, turn upright, scale, cut out, convert the colours to sRGB, lay on the background, mirror, shift.
Scaling comes before the colours because it makes the picture small; transparency is premultiplied while scaling, so
hidden colours don't bleed into the edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tehon.data.feed.scaling import scaled
from tehon.data.plan.buckets import Size
from tehon.data.plan.colours import eight_bits, in_srgb, on_background, rgb_mode
from tehon.data.plan.variation import Look, Shift, Source
from tehon.messages.problem import Problem, reason_of

Pixels = NDArray[np.uint8]
_DRAFT = 2  # a JPEG is decoded at no less than this many times the wanted size: nearer, its grain would differ


@dataclass(frozen=True, eq=False)
class Piece:
    """What one reading sees: sRGB `pixels` uint8 (height, width, 3), and the `mask` of what counts in the loss, uint8
    at the size of the latents, 255 for all of it. `bad_profile`: the file's colour profile makes no sense."""

    pixels: Pixels
    mask: Pixels | None = None
    bad_profile: bool = False


def read_piece(source: Source, look: Look, stride: int = 8) -> Piece:
    """The piece of a picture that a reading sees; a Problem when the file can't be read. `stride`: pixels a latent."""
    return read_pieces(source, [look], stride)[0]


def read_pieces(source: Source, looks: Sequence[Look], stride: int = 8) -> list[Piece]:
    """The pieces that several readings see, for one decoding of the file."""
    try:
        picture, profile = _decoded(source)
        mask = _whole_mask(source, picture)
        return [_piece(source, look, picture, mask, profile, stride) for look in looks]
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise whatever they like on damaged data
        raise Problem("picture_broken", path=source.path, reason=reason_of(error)) from None


def _decoded(source: Source) -> tuple[Image.Image, bytes | None]:
    """The picture upright and at the placement's size, in a mode with 8 bits a channel, and its colour profile."""
    resized = source.placement.resized
    with Image.open(source.path) as file:
        if source.interpolation == "auto":
            _draft(file, resized)
        profile = file.info.get("icc_profile")
        picture = eight_bits(ImageOps.exif_transpose(file))
    return scaled(picture, resized, source.interpolation), profile


def _draft(file: Image.Image, resized: Size) -> None:
    """Asks the JPEG decoder for a smaller picture of twice the wanted size or more; others ignore it."""
    sideways = file.getexif().get(0x0112) in (5, 6, 7, 8)
    width, height = resized[::-1] if sideways else resized
    file.draft(None, (width * _DRAFT, height * _DRAFT))


def _whole_mask(source: Source, picture: Image.Image) -> Image.Image | None:
    """The mask at the size of the scaled picture, mode L."""
    if source.mask is not None:
        try:
            with Image.open(source.mask) as file:
                grey = eight_bits(ImageOps.exif_transpose(file)).convert("RGB").convert("L")
        except OSError as error:
            raise Problem("picture_broken", path=source.mask, reason=error) from None
        return scaled(grey, picture.size, "area")
    if source.alpha_mask:
        return picture.getchannel("A") if picture.mode == "RGBA" else Image.new("L", picture.size, 255)
    return None


def _piece(
    source: Source, look: Look, picture: Image.Image, mask: Image.Image | None, profile: bytes | None, stride: int
) -> Piece:
    width, height = source.placement.bucket
    left, top = look.crop
    box = (left, top, left + width, top + height)
    coloured = in_srgb(picture.crop(box), profile)
    pixels = np.asarray(on_background(coloured or picture.crop(box).convert(rgb_mode(picture)), source.background))
    small = None if mask is None else np.asarray(scaled(mask.crop(box), (width // stride, height // stride), "area"))
    if look.flip:
        pixels, small = pixels[:, ::-1], None if small is None else small[:, ::-1]
    if look.shift:
        pixels = shifted(pixels, look.shift)
    small = None if small is None else np.ascontiguousarray(small)
    return Piece(np.ascontiguousarray(pixels), small, coloured is None)


def shifted(pixels: Pixels, shift: Shift) -> Pixels:
    """Pixels (h, w, 3) with the hue turned by degrees, then every value v raised to v ** gamma on 0 to 255, which
    makes the whole picture lighter or darker, as sd-scripts does."""
    values = pixels.astype(np.float32)
    if shift.hue % 360:
        values = _turned(values, shift.hue)
    if shift.gamma != 1:
        values = values**shift.gamma
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _turned(rgb: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Turns the hue of HSV; value and saturation stay."""
    value, low = rgb.max(-1), rgb.min(-1)
    chroma = value - low
    safe = np.where(chroma > 0, chroma, 1)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sextant = np.select(
        [value == red, value == green], [(green - blue) / safe, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    k = (np.asarray((5, 3, 1), np.float32) + sextant[..., None] + np.float32(degrees / 60)) % 6
    return value[..., None] - chroma[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1)


def picture_size(path: Path) -> Size | None:
    """(width, height) as stored in the file; None when EXIF turns the picture, or the file can't be read."""
    try:
        with Image.open(path) as file:
            return file.size if file.getexif().get(0x0112, 1) == 1 else None
    except Exception:  # noqa: BLE001  as above
        return None
