"""Scaling pictures: Pillow's filters, and a true area average, which Pillow has for whole factors only.

>>> scaled(Image.new("RGB", (1000, 750)), (512, 384), "auto").size
(512, 384)
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tehon.data.plan.buckets import Size

_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}
_BLOCK = 16


def scaled(picture: Image.Image, size: Size, interpolation: str) -> Image.Image:
    """The picture (L, RGB, RGBA or CMYK) at this size. `auto` is area where no side grows, else lanczos.

    Transparent pixels have no say in the colour of their neighbours.
    """
    if picture.size == size:
        return picture
    if interpolation == "auto":
        shrinks = size[0] <= picture.width and size[1] <= picture.height
        interpolation = "area" if shrinks else "lanczos"
    if interpolation == "area":
        return area(picture, size)
    return picture.resize(size, _FILTERS[interpolation])


def area(picture: Image.Image, size: Size) -> Image.Image:
    """Each new pixel is the mean of the area that it covers in the old picture, also where that cuts pixels apart."""
    if picture.mode == "RGBA":
        return area(picture.convert("RGBa"), size).convert("RGBA")
    factors = picture.width // size[0], picture.height // size[1]
    whole = picture.size == (size[0] * factors[0], size[1] * factors[1])
    if whole and prod(factors) != 3:  # of three pixels Pillow makes 166 where the mean is 166.67
        return picture.reduce(factors)
    values = _covered(np.asarray(picture), size[1])
    values = _covered(np.ascontiguousarray(values.swapaxes(0, 1)), size[0]).swapaxes(0, 1)
    rounded = np.ascontiguousarray((values + 0.5).astype(np.uint8))
    return Image.frombytes(picture.mode, size, rounded.tobytes())


def _covered(values: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Means over `count` equal stretches of the first axis: (n, ...) to (count, ...). A product with the matrix of
    shares, a band along its diagonal, taken in blocks."""
    flat = values.reshape(len(values), -1)
    edges = np.arange(count + 1) * len(values) / count
    means = np.empty((count, flat.shape[1]), np.float32)
    for start in range(0, count, _BLOCK):
        low, high = edges[start : start + _BLOCK + 1][:-1, None], edges[start : start + _BLOCK + 1][1:, None]
        pixels = np.arange(int(low[0, 0]), min(len(values), int(np.ceil(high[-1, 0]))))
        shares = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None) * (count / len(values))
        means[start : start + _BLOCK] = shares.astype(np.float32) @ flat[pixels[0] : pixels[-1] + 1].astype(np.float32)
    return means.reshape(count, *values.shape[1:])
