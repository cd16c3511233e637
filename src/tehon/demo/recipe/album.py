"""Pictures and captions for the recipe, as tensors."""

from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw

from tehon.demo.scenes import BACKGROUNDS, SIDE, TEXTURES, finish, paint_background, scene


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """uint8 (3, height, width)."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()


def scribble(seed: int, number: int) -> Image.Image:
    """A picture of nested ovals, bars and lines in any colour: what the VAE must also be able to show.

    The diffusion model never sees these, so things made of such parts are new to it.
    """
    rng = Random(f"scribble {seed} {number}")
    canvas = paint_background(rng.choice(list(BACKGROUNDS)), rng.choice(TEXTURES), rng.randrange(1 << 16))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(4, 14)):
        ink = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
        wide, high = (rng.uniform(0.03, 0.3) * canvas.width for _ in range(2))
        box = (x - wide, y - high, x + wide, y + high)
        kind = rng.random()
        if kind < 0.6:
            draw.ellipse(box, fill=ink)
            inner = (x - wide / 2, y - high / 2, x + wide / 3, y + high / 3)
            draw.ellipse(inner, fill=tuple(255 - c for c in ink))
        elif kind < 0.8:
            draw.rectangle(box, fill=ink)
        else:
            draw.line(box, fill=ink, width=rng.randint(8, 30))
    return finish(canvas)


def album(seed: int, count: int, scribbles: int = 0) -> torch.Tensor:
    """uint8 (count + scribbles, 3, SIDE, SIDE)."""
    pictures = torch.empty(count + scribbles, 3, SIDE, SIDE, dtype=torch.uint8)
    for i in range(count):
        pictures[i] = to_tensor(scene(seed, i).draw())
    for i in range(scribbles):
        pictures[count + i] = to_tensor(scribble(seed, i))
    return pictures


def scaled(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1
