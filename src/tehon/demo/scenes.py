"""Scenes that the small model learns from: drawn pictures with captions, each a function of (seed, number).

>>> scene(0, 2).caption
'a picture of a red ring'

"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from tehon.demo.drawn import write_drawn
from tehon.demo.shapes import SHAPES, outline

SIDE = 128
_FINE = 4  # drawn this many times larger, then averaged down: smooth edges

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 34, 40),
    "orange": (245, 136, 24),
    "yellow": (250, 214, 32),
    "green": (40, 160, 60),
    "blue": (38, 84, 214),
    "purple": (128, 48, 170),
    "pink": (246, 120, 180),
    "brown": (122, 72, 34),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "gray": (150, 150, 152),
    "black": (24, 24, 26),
    "beige": (232, 214, 180),
    "mint": (176, 228, 204),
    "navy": (30, 38, 84),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
POSITIONS: dict[str, tuple[float, float]] = {
    "in the middle": (0.5, 0.5),
    "on the left": (0.26, 0.5),
    "on the right": (0.74, 0.5),
    "at the top": (0.5, 0.26),
    "at the bottom": (0.5, 0.74),
}
SIZES: dict[str, float] = {"small": 0.24, "": 0.38, "big": 0.54}
COUNTS = ("a", "two", "three", "four")
_COUNTED: dict[int, list[tuple[float, float]]] = {
    2: [(0.28, 0.5), (0.72, 0.5)],
    3: [(0.5, 0.27), (0.27, 0.73), (0.73, 0.73)],
    4: [(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)],
}
_PAIRS = (("on the left", "on the right"), ("at the top", "at the bottom"))
_OPENINGS = ("", "", "", "a picture of ", "a drawing of ", "an image of ")


@dataclass(frozen=True)
class Thing:
    """One shape in a scene; centre and size as shares of the picture's side."""

    shape: str
    colour: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows, its caption, and the attributes that the caption names (absent: not named)."""

    things: tuple[Thing, ...]
    background: str
    texture: str
    phase: int
    caption: str
    named: dict[str, str]

    def draw(self) -> Image.Image:
        """The picture, SIDE pixels square."""
        canvas = paint_background(self.background, self.texture, self.phase)
        for thing in self.things:
            place(canvas, thing)
        return finish(canvas)


def paint_background(background: str, texture: str, phase: int) -> Image.Image:
    """A textured background at drawing scale (SIDE times `_FINE` pixels square), shifted by `phase` pixels."""
    base = BACKGROUNDS[background]
    shift = 26 if sum(base) < 300 else -26
    second = (base[0] + shift, base[1] + shift, base[2] + shift)
    fine = SIDE * _FINE
    picture = Image.new("RGB", (fine, fine), base)
    draw = ImageDraw.Draw(picture)
    period = fine // (5 + phase % 2)
    start = -(phase % period)
    if texture == "striped":
        for x in range(start, fine, period):
            draw.rectangle((x, 0, x + period // 2, fine), fill=second)
    elif texture == "checkered":
        for row, y in enumerate(range(start, fine, period // 2)):
            for x in range(start + (row % 2) * period // 2, fine, period):
                draw.rectangle((x, y, x + period // 2 - 1, y + period // 2 - 1), fill=second)
    elif texture == "dotted":
        radius = period // 4
        for y in range(start, fine + period, period):
            for x in range(start, fine + period, period):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=second)
    return picture


def place(canvas: Image.Image, thing: Thing) -> None:
    """Draws a thing onto a canvas at drawing scale."""
    side = max(8, round(thing.size * canvas.width))
    corner = (round(thing.x * canvas.width - side / 2), round(thing.y * canvas.height - side / 2))
    canvas.paste(COLOURS[thing.colour], corner, outline(thing.shape, side))


def finish(canvas: Image.Image) -> Image.Image:
    """Averages a canvas down to its final size."""
    return canvas.reduce(_FINE)


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _invented(rng: Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 7)))


def scene(seed: int, number: int) -> Scene:
    """The scene `number` of the endless album `seed`: one thing, a few alike, or a pair."""
    rng = Random(f"scene {seed} {number}")
    background, texture = rng.choice(list(BACKGROUNDS)), rng.choice(TEXTURES)
    shape, colour = rng.choice(list(SHAPES)), rng.choice(list(COLOURS))
    named = {"shape": shape, "colour": colour, "count": "a"}
    compose = rng.choices((_one, _several, _pair), weights=(70, 15, 15))[0]
    things, words = compose(rng, shape, colour, named)
    if rng.random() < 0.8:
        named |= {"background": background, "texture": texture}
        tone = background if texture == "plain" else f"{texture} {background}"
        words += f" on {_article(tone)} background"
    if rng.random() < 0.08:
        words = f"{_invented(rng)} {words}"
    return Scene(tuple(things), background, texture, rng.randrange(1 << 16), rng.choice(_OPENINGS) + words, named)


def _jitter(rng: Random) -> float:
    return rng.uniform(-0.04, 0.04)


def _one(rng: Random, shape: str, colour: str, named: dict[str, str]) -> tuple[list[Thing], str]:
    size, position = rng.choice(list(SIZES)), rng.choice(list(POSITIONS))
    x, y = POSITIONS[position]
    adjective = colour
    if size and rng.random() < 0.8:
        named["size"] = size
        adjective = f"{size} {colour}"
    words = _article(f"{adjective} {shape}")
    if rng.random() < 0.6:
        named["position"] = position
        words += f" {position}"
    extent = SIZES[size] * rng.uniform(0.9, 1.1)
    return [Thing(shape, colour, x + _jitter(rng), y + _jitter(rng), extent)], words


def _several(rng: Random, shape: str, colour: str, named: dict[str, str]) -> tuple[list[Thing], str]:
    count = rng.choice((2, 3, 4))
    named["count"] = COUNTS[count - 1]
    extent = rng.uniform(0.26, 0.32)
    things = [Thing(shape, colour, x + _jitter(rng), y + _jitter(rng), extent) for x, y in _COUNTED[count]]
    plural = f"{shape}es" if shape == "cross" else f"{shape}s"
    return things, f"{COUNTS[count - 1]} {colour} {plural}"


def _pair(rng: Random, shape: str, colour: str, named: dict[str, str]) -> tuple[list[Thing], str]:
    other, tint = rng.choice(list(SHAPES)), rng.choice([c for c in COLOURS if c != colour])
    first, second = rng.choice(_PAIRS)
    named |= {"position": first, "second shape": other, "second colour": tint}
    extent = rng.uniform(0.28, 0.36)
    things = [
        Thing(kind, tone, POSITIONS[where][0] + _jitter(rng), POSITIONS[where][1] + _jitter(rng), extent)
        for kind, tone, where in ((shape, colour, first), (other, tint, second))
    ]
    return things, f"{_article(f'{colour} {shape}')} {first} and {_article(f'{tint} {other}')} {second}"


def write_known_scenes(folder: Path, count: int = 160) -> Path:
    """Writes `folder/1_scene` with pictures of what the model knows, so that training does not make it forget them."""
    inner = folder / "1_scene"
    known = ((f"{number:03}", scene(2024, number)) for number in range(count))
    write_drawn(inner, ((stem, one.draw(), one.caption) for stem, one in known))
    return inner
