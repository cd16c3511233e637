"""How tehon's times grow: with the rank, with the number of buckets, and what the loader takes for a picture.

    python benchmarks/growth.py [--rounds 5] [--folder FOLDER]

What is compared takes steps in turns in one process, so that the ratio is free of what else the machine does. Ranks are
8 and 64 on the models "small" and Stable Diffusion 1.5 at 256 x 256. Buckets are 384 x 384 alone against twelve of
other shapes, on the model "nano"; their steps are compared by the pixel, since the shapes differ a little in size. The
loader reads kept latents of 512 x 512 pixels from memory and from a cache on the disk, as a training does before each
step. Writes `results/growth.json`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from tehon.machine.processor import QUIET_SPINS

os.environ.setdefault("GOMP_SPINCOUNT", str(QUIET_SPINS))  # as for the command, before PyTorch is imported

import numpy as np
import torch
from PIL import Image
from sizes import CAPTION, SIZES, model_folder, pictures_folder

from tehon.data.feed.cache import ArrayCache
from tehon.data.feed.latents import KeptLatents, Memory
from tehon.data.feed.views import View, pixels_key
from tehon.data.plan.buckets import Placement
from tehon.data.plan.variation import Look, Source
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble

RESULT = Path(__file__).parent / "results" / "growth.json"
SQUARE = [(384, 384)]
UPRIGHT = [(320, 448), (256, 576), (192, 768), (256, 512), (192, 704), (320, 384)]
TWELVE = UPRIGHT + [(high, wide) for wide, high in UPRIGHT]
LATENTS, EACH = 2000, 50
Seconds = dict[str, list[float]]
"""Of a step, by name and round."""


def trainer(model: Path, pictures: Path, side: int, rank: int = 8) -> Trainer:
    tree: dict[str, Any] = {
        "model": {"path": str(model)},
        "data": {"folder": str(pictures), "resolution": side, "batch_size": 1, "min_bucket_reso": 192},
        "network": {"rank": rank, "alpha": float(rank)},
        "optimizer": {"name": "AdamW", "text_encoder_lr": 0.0},
        "training": {"seed": 1, "device": "cpu", "epochs": 10_000},
        "output": {"folder": tempfile.mkdtemp()},
    }
    return assemble(make_plan(validate(tree)))


def shaped_pictures(root: Path, shapes: Iterable[tuple[int, int]], name: str) -> Path:
    """One picture of each shape, read once an epoch."""
    inner = root / f"shapes-{name}" / "1_cat"
    inner.mkdir(parents=True, exist_ok=True)
    for number, shape in enumerate(shapes):
        Image.fromarray(np.full((shape[1], shape[0], 3), 20 * number, np.uint8)).save(inner / f"{number}.png")
        (inner / f"{number}.txt").write_text(CAPTION)
    return inner.parent


def in_turns(trainers: dict[str, Trainer], steps: dict[str, int], rounds: int) -> Seconds:
    """Seconds of a step of each, by round; the first round is not counted."""
    running = {name: one.updates() for name, one in trainers.items()}
    found: Seconds = {name: [] for name in trainers}
    for number in range(rounds + 1):
        for name, updates in running.items():
            start = time.perf_counter()
            for _ in range(steps[name]):
                next(updates).loss.item()
            if number:
                found[name].append((time.perf_counter() - start) / steps[name])
    return found


def ratio(found: Seconds, more: str, less: str, sizes: tuple[float, float] = (1.0, 1.0)) -> dict[str, Any]:
    """How many times as long `more` takes, by rounds next to each other, each divided by its size."""
    pairs = [(a / sizes[0]) / (b / sizes[1]) for a, b in zip(found[more], found[less], strict=True)]
    return {"seconds": found, "times": median(pairs), "from_to": [min(pairs), max(pairs)]}


def ranks(root: Path, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("small", "sd15-256"):
        size = SIZES[name]
        model, pictures = model_folder(root, size), pictures_folder(root, size.side, 4)
        both = {str(rank): trainer(model, pictures, size.side, rank) for rank in (8, 64)}
        found[name] = ratio(in_turns(both, dict.fromkeys(both, 2), rounds), "64", "8")
    return found


def buckets(root: Path, rounds: int) -> dict[str, Any]:
    model = model_folder(root, SIZES["nano"])
    both = {
        name: trainer(model, shaped_pictures(root, shapes, name), SQUARE[0][0])
        for name, shapes in (("one", SQUARE), ("twelve", TWELVE))
    }
    count = {name: len({group.bucket for group in one.plan.groups}) for name, one in both.items()}
    assert count == {"one": 1, "twelve": 12}, count
    areas = tuple(sum(w * h for w, h in shapes) / len(shapes) for shapes in (TWELVE, SQUARE))
    found = in_turns(both, {"one": 4, "twelve": len(TWELVE)}, rounds)
    return ratio(found, "twelve", "one", (areas[0], areas[1]))


def loader(root: Path, rounds: int) -> dict[str, float]:
    """Microseconds for a picture of reading kept latents (2, 4, 64, 64), one and four at once: for the first time, when
    the disk's are checked, and later."""
    place = Placement((512, 512), (512, 512))
    views = [View(Source(Path(f"{i}.png"), str(i), place), Look((0, 0))) for i in range(LATENTS)]
    found: dict[str, float] = {}
    for name, arrays in (("memory", Memory()), ("disk", ArrayCache(root / "cache"))):
        latents = KeptLatents(arrays, lambda _: (_, _), "benchmark", torch.device("cpu"), print)
        pixels_key.cache_clear()
        for number, view in enumerate(views):
            arrays.put(pixels_key(view, "benchmark"), np.full((2, 4, 64, 64), number, np.float32))
        arrays.flush()
        arrays.refresh()
        start = time.perf_counter()
        for view in views:
            latents.read([view]).mean.sum()
        found[f"{name}, first"] = round(1e6 * (time.perf_counter() - start) / LATENTS, 1)
        for at_once in (1, 4):
            taken: list[float] = []
            for number in range(rounds * 4):
                order = np.random.default_rng(number).permutation(LATENTS)[: EACH * at_once].reshape(EACH, at_once)
                start = time.perf_counter()
                for batch in order:
                    latents.read([views[i] for i in batch]).mean.sum()
                taken.append((time.perf_counter() - start) / order.size)
            found[f"{name}, {at_once} at once"] = round(1e6 * min(taken), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where models are kept; without it they are written for the run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root: Path = options.folder or Path(place)
        found: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        for part in (loader, ranks, buckets):
            found[part.__name__] = part(root, options.rounds)
            print(part.__name__, json.dumps(found[part.__name__]), flush=True)
        found["load"] = os.getloadavg()
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf8")


if __name__ == "__main__":
    main()
