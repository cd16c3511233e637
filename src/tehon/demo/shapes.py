"""Outlines of the demo's shapes, as masks: one vocabulary for the drawn scenes and for the judge that reads them.

>>> mask("star", 32).shape
(32, 32)
"""

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]


def _polygon(points: list[Point]) -> Callable[[ImageDraw.ImageDraw, int], None]:
    return lambda draw, side: draw.polygon([(x * side, y * side) for x, y in points], fill=255)


def _star() -> list[Point]:
    corners: list[Point] = []
    for i in range(10):
        radius = 0.5 if i % 2 == 0 else 0.21
        angle = pi * (i / 5 - 0.5)
        corners.append((0.5 + radius * cos(angle), 0.53 + radius * sin(angle)))
    return corners


def _heart() -> list[Point]:
    """The parametric heart x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, in the unit square."""
    turns = [2 * pi * i / 64 for i in range(64)]
    return [
        (0.5 + sin(t) ** 3 * 0.5, 0.45 - (13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)) / 32)
        for t in turns
    ]


def _circle(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.ellipse((0, 0, side - 1, side - 1), fill=255)


def _ring(draw: ImageDraw.ImageDraw, side: int) -> None:
    _circle(draw, side)
    edge = 0.27 * side
    draw.ellipse((edge, edge, side - 1 - edge, side - 1 - edge), fill=0)


def _moon(draw: ImageDraw.ImageDraw, side: int) -> None:
    _circle(draw, side)
    draw.ellipse((0.32 * side, -0.05 * side, 1.15 * side, 0.78 * side), fill=0)


def _square(draw: ImageDraw.ImageDraw, side: int) -> None:
    edge = 0.06 * side
    draw.rectangle((edge, edge, side - 1 - edge, side - 1 - edge), fill=255)


def _cross(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle((0.34 * side, 0, 0.66 * side, side - 1), fill=255)
    draw.rectangle((0, 0.34 * side, side - 1, 0.66 * side), fill=255)


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, int], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _polygon([(0.5, 0.05), (1.0, 0.95), (0.0, 0.95)]),
    "star": _polygon(_star()),
    "heart": _polygon(_heart()),
    "diamond": _polygon([(0.5, 0.0), (0.86, 0.5), (0.5, 1.0), (0.14, 0.5)]),
    "ring": _ring,
    "cross": _cross,
    "moon": _moon,
    "arrow": _polygon([(0.0, 0.32), (0.5, 0.32), (0.5, 0.05), (1.0, 0.5), (0.5, 0.95), (0.5, 0.68), (0.0, 0.68)]),
}


def outline(shape: str, side: int) -> Image.Image:
    """A picture of mode L, `side` pixels square, 255 inside the shape."""
    picture = Image.new("L", (side, side), 0)
    SHAPES[shape](ImageDraw.Draw(picture), side)
    return picture


def mask(shape: str, side: int) -> np.ndarray:
    """Boolean array (side, side), true inside the shape."""
    return np.asarray(outline(shape, side)) > 127
