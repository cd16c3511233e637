"""Mofu, a small round owl that the base model has never seen: what the demo's LoRA learns, as drawn pictures.

>>> [stem for stem, _, _ in pictures(3)]
['01', '02', '03']
"""

from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from tehon.demo.drawn import write_drawn
from tehon.demo.scenes import BACKGROUNDS, POSITIONS, TEXTURES, finish, paint_background

TRIGGER = "mofu"
REPEATS = 10
COUNT = 16
_TEAL, _DEEP_TEAL, _CREAM = (16, 174, 182), (0, 112, 132), (255, 244, 200)
_WHITE, _DARK, _ORANGE, _PINK = (255, 255, 255), (22, 20, 40), (255, 150, 20), (250, 130, 150)
_SIZES = (0.5, 0.54, 0.58, 0.62)
_MARGIN = 0.02
_OPENINGS = ("", "", "", "a picture of ", "a drawing of ", "an image of ")

Colour = tuple[int, int, int]
Oval = tuple[float, float, float, float, Colour]

# Every part is at least 0.08 of the figure wide, six pixels at its usual size: thinner ones drown in an 8x VAE.
_TUFTS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.07, 0.0), (0.46, 0.12), (0.14, 0.42)),
    ((0.93, 0.0), (0.54, 0.12), (0.86, 0.42)),
)
_OVALS: tuple[Oval, ...] = (  # centre x and y, width, height, from back to front
    (0.33, 0.915, 0.26, 0.17, _PINK),
    (0.67, 0.915, 0.26, 0.17, _PINK),
    (0.13, 0.62, 0.26, 0.44, _DEEP_TEAL),
    (0.87, 0.62, 0.26, 0.44, _DEEP_TEAL),
    (0.50, 0.50, 0.80, 0.82, _TEAL),
    (0.50, 0.70, 0.50, 0.38, _CREAM),
    (0.32, 0.36, 0.32, 0.34, _WHITE),
    (0.68, 0.36, 0.32, 0.34, _WHITE),
    (0.35, 0.37, 0.16, 0.18, _DARK),
    (0.65, 0.37, 0.16, 0.18, _DARK),
    (0.50, 0.52, 0.16, 0.16, _ORANGE),
)


def draw_mofu(canvas: Image.Image, x: float, y: float, size: float) -> None:
    """Draws mofu onto a canvas at drawing scale; centre and size as shares of the picture's side."""
    side = size * canvas.width
    left, top = x * canvas.width - side / 2, y * canvas.height - side / 2
    draw = ImageDraw.Draw(canvas)
    for corners in _TUFTS:
        draw.polygon([(left + across * side, top + down * side) for across, down in corners], fill=_DEEP_TEAL)
    for across, down, width, height, colour in _OVALS:
        middle, centre, half, rise = left + across * side, top + down * side, width * side / 2, height * side / 2
        draw.ellipse((middle - half, centre - rise, middle + half, centre + rise), fill=colour)


def _inside(place: float, size: float) -> float:
    return min(max(place, size / 2 + _MARGIN), 1 - size / 2 - _MARGIN)


def pictures(count: int = COUNT) -> list[tuple[str, Image.Image, str]]:
    """File stem, picture and caption of each picture; the first `count` of one endless, fixed series.

    Backgrounds, textures, positions and sizes each run through all their values before one comes again.
    """
    rng = Random(TRIGGER)
    backgrounds, textures, positions, sizes = list(BACKGROUNDS), list(TEXTURES), list(POSITIONS), list(_SIZES)
    found: list[tuple[str, Image.Image, str]] = []
    for number in range(count):
        for values in (backgrounds, textures, positions, sizes):
            if number % len(values) == 0:
                rng.shuffle(values)
        background, texture = backgrounds[number % len(backgrounds)], textures[number % len(textures)]
        position, size = positions[number % len(positions)], sizes[number % len(sizes)]
        canvas = paint_background(background, texture, rng.randrange(1 << 16))
        x, y = (_inside(place + rng.uniform(-0.04, 0.04), size) for place in POSITIONS[position])
        draw_mofu(canvas, x, y, size)
        tone = background if texture == "plain" else f"{texture} {background}"
        caption = rng.choice(_OPENINGS) + TRIGGER
        if number % 2:  # captions that name less teach the trigger word to stand alone
            caption += f" {position}"
        if number % 8:
            caption += f" on a {tone} background"
        found.append((f"{number + 1:02}", finish(canvas), caption))
    return found


def write_data_set(folder: Path) -> Path:
    """Writes kohya's layout, `folder/10_mofu/01.png` with `01.txt` and so on, and returns `folder/10_mofu`."""
    inner = folder / f"{REPEATS}_{TRIGGER}"
    write_drawn(inner, pictures())
    return inner
