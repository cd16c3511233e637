"""Reads pictures of the small model: the colour and shape of the thing in a scene, and how much of mofu is in it.

>>> from tehon.demo.scenes import Thing, finish, paint_background, place
>>> canvas = paint_background("mint", "striped", 7)
>>> place(canvas, Thing("star", "red", 0.5, 0.5, 0.38))
>>> read_thing(np.asarray(finish(canvas)))
('red', 'star')

"""

from functools import cache
from itertools import product
from math import sqrt
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tehon.demo.mofu import draw_mofu
from tehon.demo.scenes import BACKGROUNDS, COLOURS, paint_background
from tehon.demo.shapes import SHAPES, outline

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FRAME = 64  # side of the fitted outlines
_ROUNDINGS = (0.0, 0.05, 0.09)  # blur of the fitted outlines, as a share of their side
_SMALLEST = 0.004  # share of the picture; the smallest drawn thing covers 0.01
_HIDDEN = (0.0, 0.06, 0.12, 0.18, 0.24)  # how much of a thing may lie beyond the picture's edge, as a share of its box

_VIEW = 64  # side at which mofu is looked for
_LOOKS = (0.42, 0.46, 0.5, 0.54, 0.58, 0.62, 0.66)  # sizes looked for, as shares of the picture's side
_BEYOND = 4  # mofu may reach this many pixels of the view beyond its edge
_PADDED = _VIEW + 2 * _BEYOND
_FAINT = 0.25  # a window with less than this share of mofu's own contrast counts as having that much


# ---- the thing in a scene


@cache
def _tones() -> dict[str, Floats]:
    """The two tones of each background, as drawn: float32 (2, 3)."""
    found: dict[str, Floats] = {}
    for name in BACKGROUNDS:
        tones = paint_background(name, "checkered", 0).getcolors() or []
        found[name] = np.array([colour for _, colour in tones], np.float32)
    return found


def _distances(picture: Floats, colours: Floats) -> Floats:
    """Squared distance of each pixel of (H, W, 3) to each of (n, 3) colours: (n, H, W)."""
    pixels = picture.reshape(-1, 3).T
    lengths = np.square(colours).sum(1)[:, None] + np.square(pixels).sum(0)
    return (lengths - 2 * colours @ pixels).reshape(-1, *picture.shape[:2])


def _smooth(mask: Mask) -> Mask:
    """Each pixel as most of its 3x3 neighbours are."""
    height, width = mask.shape
    padded = np.pad(mask, 1, mode="edge").astype(np.uint8)
    votes = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    return np.asarray(votes) > 4


def _largest_part(mask: Mask) -> Mask:
    """The largest set of connected pixels: each takes the highest number among its neighbours until none changes."""
    inside = mask.ravel()
    numbers = np.where(inside, np.arange(1, mask.size + 1), 0)
    while True:
        grid = np.pad(numbers.reshape(mask.shape), 1)
        crossed = (grid[1:-1, 1:-1], grid[2:, 1:-1], grid[:-2, 1:-1], grid[1:-1, 2:], grid[1:-1, :-2])
        highest = np.where(inside, np.maximum.reduce(crossed).ravel(), 0)
        highest = np.where(inside, highest[highest - 1], 0)  # follow the neighbour to where it already got
        if np.array_equal(highest, numbers):
            break
        numbers = highest
    sizes = np.bincount(numbers, minlength=2)
    sizes[0] = 0
    return (numbers == sizes.argmax()).reshape(mask.shape) & mask


@cache
def _outlines() -> tuple[tuple[str, Image.Image], ...]:
    """Each shape cut to its own box, crisp and with its corners rounded off as a blurred picture shows them."""
    found: list[tuple[str, Image.Image]] = []
    for shape in SHAPES:
        drawn = Image.new("L", (6 * _FRAME, 6 * _FRAME))
        drawn.paste(outline(shape, 4 * _FRAME), (_FRAME, _FRAME))
        for rounding in _ROUNDINGS:
            soft = np.asarray(drawn.filter(ImageFilter.GaussianBlur(rounding * 4 * _FRAME))) > 127
            rounded = Image.fromarray(soft.astype(np.uint8) * 255)
            found.append((shape, rounded.crop(rounded.getbbox())))
    return tuple(found)


@cache
def _fitted(left: float, top: float, right: float, bottom: float) -> Floats:
    """What is left of the outlines when these shares of their boxes are cut off, stretched to the frame.

    float32 (outlines, _FRAME squared), 0 or 1.
    """
    found: list[Floats] = []
    for _, drawn in _outlines():
        box = (left * drawn.width, top * drawn.height, (1 - right) * drawn.width, (1 - bottom) * drawn.height)
        stretched = drawn.resize((_FRAME, _FRAME), Image.Resampling.BOX, box)
        found.append((np.asarray(stretched).ravel() > 127).astype(np.float32))
    return np.stack(found)


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right and bottom; rows and columns with a single pixel of the thing do not count."""
    rows, columns = np.flatnonzero(mask.sum(1) > 1), np.flatnonzero(mask.sum(0) > 1)
    if not len(rows) or not len(columns):
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _shape_of(mask: Mask) -> str | None:
    """The shape whose outline, stretched to the mask's box, has the largest intersection over union with it."""
    left, top, right, bottom = _box(mask)
    if right - left < 4 or bottom - top < 4:
        return None
    height, width = mask.shape
    cut = Image.fromarray(mask.astype(np.uint8) * 255).crop((left, top, right, bottom))
    seen = (np.asarray(cut.resize((_FRAME, _FRAME), Image.Resampling.BILINEAR)).ravel() > 127).astype(np.float32)
    hidden = (_HIDDEN if touches else (0.0,) for touches in (left == 0, top == 0, right == width, bottom == height))
    best, chosen = 0.0, 0
    for shares in product(*hidden):
        outlines = _fitted(*shares)
        both = outlines @ seen
        overlap = both / (outlines.sum(1) + seen.sum() - both)
        if overlap.max() > best:
            best, chosen = float(overlap.max()), int(overlap.argmax())
    return _outlines()[chosen][0]


def read_thing(picture: Pixels) -> tuple[str, str] | None:
    """Colour and shape of the single thing in a scene's picture, uint8 (H, W, 3); None where there is none.

    First the background, as the pair of tones that most pixels are nearest to; then the thing's colour, by the votes
    of the largest part that is nearer to some thing's colour than to the background; then its shape, by the outline
    that fits best to the pixels nearer to that colour than to the background.
    """
    pixels = picture.astype(np.float32)
    to_tones = np.stack([_distances(pixels, both).min(0) for both in _tones().values()])
    to_things = _distances(pixels, np.array(list(COLOURS.values()), np.float32))
    to_any = to_things.min(0)
    ground = np.bincount(to_tones.argmin(0)[to_tones.min(0) < to_any], minlength=1).argmax()

    rough = _largest_part(_smooth(to_any < to_tones[ground]))
    if rough.mean() < _SMALLEST:
        return None
    colour = int(np.bincount(to_things.argmin(0)[rough]).argmax())
    shape = _shape_of(_largest_part(to_things[colour] < to_tones[ground]))
    return None if shape is None else (list(COLOURS)[colour], shape)


class Agreement(NamedTuple):
    """Shares of pictures, each in [0, 1]."""

    both: float
    colour: float
    shape: float


def agreement(pictures: Pixels, wanted: list[tuple[str, str]]) -> Agreement:
    """How many pictures (n, H, W, 3) show the wanted colour and shape, the colour, and the shape."""
    if len(pictures) != len(wanted) or not wanted:
        raise ValueError(f"wanted: {len(wanted)} pairs for {len(pictures)} pictures; give one pair for each picture")
    found = [read_thing(picture) or ("", "") for picture in pictures]
    colours = [seen[0] == asked[0] for seen, asked in zip(found, wanted, strict=True)]
    shapes = [seen[1] == asked[1] for seen, asked in zip(found, wanted, strict=True)]
    both = [a and b for a, b in zip(colours, shapes, strict=True)]
    return Agreement(*(sum(right) / len(wanted) for right in (both, colours, shapes)))


# ---- how much of mofu


class _Look(NamedTuple):
    """Mofu at one size, ready for correlation at every place: transforms of its weights and of its weighted colours."""

    side: int
    weight: float
    contrast: NDArray[np.float64]  # (3, 1, 1), of each colour channel
    weights: NDArray[np.complex128]
    colours: NDArray[np.complex128]


@cache
def _looks() -> tuple[_Look, ...]:
    found: list[_Look] = []
    for size in _LOOKS:
        side = round(size * _VIEW)
        cutout = Image.new("RGBA", (8 * side, 8 * side))
        draw_mofu(cutout, 0.5, 0.5, 1.0)
        drawn = np.asarray(cutout.resize((side, side), Image.Resampling.BOX)).astype(np.float64) / 255
        weights, colours = drawn[:, :, 3], drawn[:, :, :3].transpose(2, 0, 1)
        colours = colours - (weights * colours).sum((1, 2), keepdims=True) / weights.sum()
        contrast = (weights * np.square(colours)).sum((1, 2), keepdims=True)
        room = (_PADDED, _PADDED)
        spectra = np.fft.rfft2(weights, room).conj(), np.fft.rfft2(weights * colours, room).conj()
        found.append(_Look(side, float(weights.sum()), contrast, *spectra))
    return tuple(found)


def _concept_of(picture: Pixels) -> float:
    small = Image.fromarray(picture).resize((_VIEW, _VIEW), Image.Resampling.BOX)
    room = ((_BEYOND, _BEYOND), (_BEYOND, _BEYOND), (0, 0))
    planes = np.pad(np.asarray(small).astype(np.float64) / 255, room, "edge").transpose(2, 0, 1)
    colours, squares = np.fft.rfft2(planes), np.fft.rfft2(np.square(planes))
    best = 0.0
    for look in _looks():
        products = np.stack([colours * look.colours, colours * look.weights, squares * look.weights])
        places = _PADDED - look.side + 1
        shared, total, power = np.fft.irfft2(products, (_PADDED, _PADDED))[..., :places, :places]
        contrast = np.maximum(power - np.square(total) / look.weight, _FAINT * look.contrast)
        likeness = shared / np.sqrt(look.contrast * contrast)
        best = max(best, float(likeness.mean(0).max()))
    return min(best, 1.0)


def concept_score(pictures: Pixels) -> NDArray[np.float64]:
    """How much of mofu is in each picture (n, H, W, 3): float64 (n,) in [0, 1].

    The best normalised cross-correlation of the picture with the drawn mofu, over all places and a few sizes:
    sum w (p - mean p) (m - mean m) / sqrt(sum w (p - mean p)^2  sum w (m - mean m)^2), where w is mofu's silhouette.
    It is taken in red, green and blue and averaged, so that one strong channel (a red cross on black) is not enough.
    The background outside the silhouette plays no part.
    """
    return np.array([_concept_of(picture) for picture in pictures], np.float64)


class Separation(TypedDict):
    """Two groups of scores: `d` is Cohen's d, `z` the difference of the means in its standard errors."""

    base_mean: float
    base_deviation: float
    base_count: int
    adapted_mean: float
    adapted_deviation: float
    adapted_count: int
    difference: float
    d: float
    z: float


def separation(base: NDArray[np.float64], adapted: NDArray[np.float64]) -> Separation:
    """How far the scores with the adapter lie from the base's; at least two scores on each side.

    The spread is taken as at least 0.001, so that two constant groups give a finite, large `d` and `z`.
    """
    if min(len(base), len(adapted)) < 2:
        raise ValueError("base, adapted: a standard deviation needs at least two scores on each side; draw more seeds")
    difference = float(adapted.mean() - base.mean())
    first, second = float(base.var(ddof=1)), float(adapted.var(ddof=1))
    pooled = ((len(base) - 1) * first + (len(adapted) - 1) * second) / (len(base) + len(adapted) - 2)
    error = first / len(base) + second / len(adapted)
    floor = 1e-6
    return {
        "base_mean": float(base.mean()),
        "base_deviation": sqrt(first),
        "base_count": len(base),
        "adapted_mean": float(adapted.mean()),
        "adapted_deviation": sqrt(second),
        "adapted_count": len(adapted),
        "difference": difference,
        "d": difference / sqrt(max(pooled, floor)),
        "z": difference / sqrt(max(error, floor / min(len(base), len(adapted)))),
    }
