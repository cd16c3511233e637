"""How many pictures a second are decoded, scaled, encoded and kept before a training.

    python benchmarks/encoding.py [--quick]

Two VAEs: the demo's at 128 x 128, and one of Stable Diffusion's size with random weights at 512 x 512. The pictures are
JPEGs of 3 million pixels. Each row is one pass over all of them into memory; "overlap" is what `tehon train` does, the
next pictures are decoded while some are encoded; without it each waits for the other. The figures go to
`benchmarks/results/encoding.json`.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tehon.catalog.detect import find_model
from tehon.data.feed.cache import ArrayCache
from tehon.data.feed.latents import KeptLatents, Memory
from tehon.data.feed.loader import Loader
from tehon.data.feed.views import View, read_views
from tehon.data.plan.buckets import Placement
from tehon.data.plan.variation import Look, Source
from tehon.families.family import behaviour_of

RESULT = Path(__file__).parent / "results" / "encoding.json"
STORED = (2048, 1536)


class InTurn(Loader):
    """Decodes each batch when it is wanted, and nothing ahead."""

    def map(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        return map(work, jobs)


def draw(folder: Path, count: int) -> list[Path]:
    """Different JPEGs with detail of all sizes."""
    files: list[Path] = []
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = np.zeros((STORED[1], STORED[0], 3), np.float32)
        for octave in range(2, 11):
            coarse = rng.integers(0, 256, (2**octave, 2**octave, 3), np.uint8)
            pixels += np.asarray(Image.fromarray(coarse).resize(STORED, Image.Resampling.BICUBIC)) / 2 ** (octave - 1)
        file = folder / f"{number}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=92)
        files.append(file)
    return files


def views_of(files: list[Path], side: int) -> list[View]:
    """Each file scaled to cover a square, of which the middle is cut out."""
    placement = Placement((side, side), (side * STORED[0] // STORED[1], side))
    return [View(Source(file, str(number), placement), Look(placement.crop)) for number, file in enumerate(files)]


def sd_vae() -> Any:
    """The VAE of Stable Diffusion 1 by its configuration, with random weights."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    ).eval()


def encoder(vae: Any, layout: torch.memory_format) -> Callable[[torch.Tensor], Any]:
    vae.to(memory_format=layout)

    @torch.no_grad()
    def encode(pictures: torch.Tensor) -> Any:
        posterior = vae.encode(pictures.contiguous(memory_format=layout)).latent_dist
        return posterior.mean, posterior.std

    return encode


def measure(views: list[View], encode: Any, batch: int, loader: Loader, disk: Path | None = None) -> float:
    """Pictures a second."""
    arrays = ArrayCache(disk) if disk else Memory()
    latents = KeptLatents(arrays, encode, "benchmark", torch.device("cpu"), print)
    start = time.perf_counter()
    assert sum(latents.fill(views, batch, loader)) == len(views)
    return len(views) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the pictures")
    quick = parser.parse_args().quick
    behaviour = behaviour_of(find_model("demo").family)
    demo = behaviour.load(find_model("demo"), torch.float32, torch.device("cpu")).vae
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder), 16 if quick else 48)

        def row(vae: str, side: int, count: int, layout: str, batch: int, how: str, disk: bool = False) -> None:
            network = {"demo": demo, "sd": sd}[vae]
            formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
            encode = encoder(network, formats[layout])
            encode(torch.zeros(batch, 3, side, side))
            workers = int(how.removeprefix("workers ")) if how.startswith("workers") else 0
            loader = InTurn(0) if how == "in turn" else Loader(workers)
            place = Path(folder) / f"cache{len(rows)}" if disk else None
            rate = measure(views_of(files[:count], side), encode, batch, loader, place)
            rows.append(
                {"vae": vae, "side": side, "pictures": count, "layout": layout, "batch": batch, "decoding": how}
                | {"kept": "on disk" if disk else "in memory", "pictures_per_second": round(rate, 3)}
            )
            print(rows[-1], flush=True)

        sd = sd_vae()
        start = time.perf_counter()
        read_views(tuple(views_of(files, 128)))
        decoding = {128: len(files) / (time.perf_counter() - start)}
        start = time.perf_counter()
        read_views(tuple(views_of(files, 512)))
        decoding[512] = len(files) / (time.perf_counter() - start)
        few = 1 if quick else 2
        for layout in ("contiguous", "channels_last"):
            for batch in (1, 4, 16):
                row("demo", 128, len(files), layout, batch, "overlap")
            row("sd", 512, few, layout, 1, "overlap")
        for how in ("in turn", "workers 1", "workers 2"):
            row("demo", 128, len(files), "channels_last", 4, how)
        row("sd", 512, few, "channels_last", 1, "in turn")
        row("demo", 128, len(files), "channels_last", 4, "overlap", disk=True)
    facts = {
        "decoded_per_second": {str(side): round(rate, 2) for side, rate in decoding.items()},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "processor": platform.machine(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(facts | {"rows": rows}, indent=2) + "\n", "utf8")


if __name__ == "__main__":
    main()
