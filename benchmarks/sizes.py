"""The models whose training is timed: Stable Diffusion 1.x from nano to real size, with drawn weights, as folders that
diffusers and tehon both read; and the pictures that they are trained on.

Drawn weights are as fast as trained ones, as nothing in the arithmetic looks at their values; those of diffusers'
constructors keep activations near one, so that no number is denormal.
"""

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TWINS = Path(__file__).parents[1] / "tests" / "twins.py"
CAPTION = "a photo of a red cat on a table"


@dataclass(frozen=True)
class Size:
    """`channels` of the U-Net's levels, `side` of the pictures in pixels, `text` (width, layers) of the text encoder,
    `vae` channels. `steps` are taken in each round of a measurement, of which the first is not counted."""

    model: str
    channels: tuple[int, int, int, int]
    side: int
    text: tuple[int, int]
    vae: tuple[int, int, int, int]
    steps: int


_REAL: tuple[Any, ...] = ((768, 12), (128, 256, 512, 512))
SIZES: dict[str, Size] = {
    "host": Size("nano", (32, 64, 64, 64), 64, (64, 4), (32, 32, 64, 64), 9),
    "nano": Size("nano", (32, 64, 64, 64), 128, (64, 4), (32, 32, 64, 64), 9),
    "tiny": Size("tiny", (64, 128, 256, 256), 256, (256, 6), (32, 64, 64, 64), 5),
    "small": Size("small", (128, 256, 512, 512), 256, (512, 8), (32, 64, 128, 128), 4),
    "sd15-256": Size("sd15", (320, 640, 1280, 1280), 256, *_REAL, 3),
    "sd15-512": Size("sd15", (320, 640, 1280, 1280), 512, *_REAL, 2),
}


@cache
def twins() -> Any:
    """The tests' makers of networks with drawn weights."""
    spec = importlib.util.spec_from_file_location("twins", TWINS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["twins"] = module
    spec.loader.exec_module(module)
    return module


def model_folder(root: Path, size: Size) -> Path:
    """The folder of a size's model, written unless it is there."""
    folder = root / size.model
    if not (folder / "scheduler" / "scheduler_config.json").exists():
        make = twins()
        width, layers = size.text
        unet = make.UNETS["sd1"] | {"block_out_channels": list(size.channels), "cross_attention_dim": width}
        vae = make.VAE | {"block_out_channels": list(size.vae)}
        text = make.REAL_TEXT | {
            "hidden_size": width,
            "num_hidden_layers": layers,
            "intermediate_size": 4 * width,
            "num_attention_heads": max(1, width // 64),
        }
        make.write_folder(make.build("sd1", unet, vae, text), folder, "sd1")
    return folder


def pictures_folder(root: Path, side: int, count: int) -> Path:
    """`count` pictures of a size with captions, read four times an epoch, written unless they are there."""
    folder = root / f"pictures-{side}-{count}"
    inner = folder / "4_cat"
    if not inner.exists():
        inner.mkdir(parents=True)
        draws = np.random.default_rng(side)
        for number in range(count):
            coarse = Image.fromarray(draws.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(inner / f"{number}.png")
            (inner / f"{number}.txt").write_text(CAPTION)
    return folder
