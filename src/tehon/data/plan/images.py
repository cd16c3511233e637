"""A picture file decoded once: its size as it is seen, the digest of its bytes, and whether it is sound.

>>> measure(Path("pictures/10_mofu/01.png")).size
(128, 128)
"""

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from tehon.data.plan.measurements import DIGEST, Measured
from tehon.messages.problem import Problem, reason_of

_ORIENTATION = 0x0112
_SIDEWAYS = frozenset((5, 6, 7, 8))  # EXIF orientations that swap width and height


def measure(path: str | Path) -> Measured:
    """Decodes a picture to the end. Whatever a decoder dislikes comes back as `error`, in one line."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(BytesIO(content)) as picture:
            width, height = picture.size
            animated = getattr(picture, "is_animated", False) and picture.format != "MPO"  # MPO: a second view
            alpha = picture.has_transparency_data
            sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
            picture.draft("RGB", (max(1, width // 8), max(1, height // 8)))  # JPEG: read all, compute an eighth
            picture.load()
    except Exception as error:  # noqa: BLE001  decoders raise whatever they like on damaged data
        return Measured(error=_short(error))
    size = (height, width) if sideways else (width, height)
    return Measured(size, blake2b(content, digest_size=DIGEST).digest(), alpha, animated)


def measure_here(paths: Iterable[str | Path]) -> list[Measured]:
    """`measure` of each, in their order, by threads of this process."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(measure, paths))


def open_upright(path: Path, background: str = "white") -> Image.Image:
    """The picture in sRGB as it is trained, turned as EXIF says; a Problem when it cannot be read."""
    from tehon.data.plan.colours import eight_bits, in_srgb, on_background, rgb_mode

    try:
        with Image.open(path) as file:
            profile = file.info.get("icc_profile")
            picture = eight_bits(ImageOps.exif_transpose(file))
        return on_background(in_srgb(picture, profile) or picture.convert(rgb_mode(picture)), background)
    except Exception as error:  # noqa: BLE001  as above
        raise Problem("picture_broken", path=path, reason=_short(error)) from None


def _short(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not a picture" if "cannot identify" in str(error) else reason_of(error)
