"""Picture files and their sizes.

>>> picture_files(Path("pictures/10_mofu"))[0].name
'01.png'
"""

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

from tehon.messages.problem import Problem, raise_all

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))
_ORIENTATION = 0x0112
_SIDEWAYS = frozenset((5, 6, 7, 8))  # EXIF orientations that swap width and height


def picture_files(folder: Path) -> list[Path]:
    """The pictures that lie in the folder itself, sorted by name; the case of extensions does not matter."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) as the picture is seen. Decodes it to the end; a Problem when that fails."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
            picture.draft("RGB", (max(1, width // 8), max(1, height // 8)))  # JPEG: read all, compute an eighth
            picture.load()
    except Exception as error:  # noqa: BLE001  decoders raise whatever they like on damaged data
        raise Problem("picture_broken", path=path, reason=_short(error)) from None
    return (height, width) if sideways else (width, height)


def sizes(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """`upright_size` of each; Problems for all broken pictures at once."""

    def read(path: Path) -> tuple[int, int] | Problem:
        try:
            return upright_size(path)
        except Problem as problem:
            return problem

    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        found = list(pool.map(read, paths))
    raise_all([size for size in found if isinstance(size, Problem)])
    return [size for size in found if not isinstance(size, Problem)]


def open_upright(path: Path) -> Image.Image:
    """The picture in RGB, turned as EXIF says."""
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def _short(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not a picture" if "cannot identify" in text else text
