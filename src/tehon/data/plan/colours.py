"""Colours of picture files: modes and depths to 8 bits, profiles to sRGB, transparency to a background. No torch.

>>> on_background(in_srgb(eight_bits(picture), profile), "white").mode
'RGB'
"""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor


def eight_bits(picture: Image.Image) -> Image.Image:
    """The picture as L, RGB, RGBA or CMYK: palettes looked up, 16 bits scaled to 8 and not cut off at 255."""
    if picture.mode in ("L", "RGB", "RGBA", "CMYK"):
        return picture.convert("RGBA") if picture.mode != "CMYK" and "transparency" in picture.info else picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        levels: NDArray[Any] = np.asarray(picture)
        grey = Image.fromarray(np.clip((levels.astype(np.float64) + 128) // 257, 0, 255).astype(np.uint8))
        clear = picture.info.get("transparency")
        if isinstance(clear, int):  # the one grey that stands for nothing
            grey = grey.convert("RGBA")
            grey.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
        return grey
    if picture.mode == "1":
        return picture.convert("L")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def rgb_mode(picture: Image.Image) -> str:
    """RGB, or RGBA where there is transparency."""
    return "RGBA" if picture.mode == "RGBA" else "RGB"


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image | None:
    """The picture with the colours of its profile as sRGB, RGB or RGBA; None when the profile makes no sense for it."""
    if not profile:
        return picture.convert(rgb_mode(picture))
    try:
        converted = ImageCms.applyTransform(picture, _transform(profile, picture.mode, rgb_mode(picture)))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return converted


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, wanted: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.getOpenProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, wanted
    )


def on_background(picture: Image.Image, colour: str) -> Image.Image:
    """RGB: what is transparent shows the colour."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, ImageColor.getrgb(colour))
    return Image.alpha_composite(ground, picture).convert("RGB")
