"""How many pictures a second are decoded, scaled, encoded and kept before a training.

    python benchmarks/encoding.py [--quick]

Two VAEs: the demo's at 128 x 128, and one of Stable Diffusion's size with random weights at 256 x 256. The pictures are
JPEGs of 3 million pixels. Each pass goes over all of them into memory; "overlap" is what `tehon train` does, the next
pictures are decoded while some are encoded; "in turn" each waits for the other. With "quick" layers it encodes as
`tehon train` does on a CPU, else with diffusers' own in that layout; before anything is measured, both have to agree in
the latents. All rows are measured in turn, several times, each pass in a process of its own, as what one leaves of the
heap makes the next one faster or slower; the fastest pass counts, since other programs may be at work. `waited` is the
share of the pass in which nothing could be encoded for want of decoded pictures. The figures go to
`benchmarks/results/encoding.json`.
"""

import os

from tehon.machine.processor import QUIET_SPINS

os.environ.setdefault("GOMP_SPINCOUNT", str(QUIET_SPINS))  # as for the command, before PyTorch is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from tehon.catalog.activations import MOST_TRANSFORMED
from tehon.catalog.detect import find_model
from tehon.data.feed.cache import ArrayCache
from tehon.data.feed.latents import KeptLatents, Memory
from tehon.data.feed.loader import Loader
from tehon.data.feed.views import View, read_views
from tehon.data.plan.buckets import Placement
from tehon.data.plan.variation import Look, Source
from tehon.families.family import behaviour_of
from tehon.frozen.encoder import make_quick
from tehon.machine.pages import large_blocks_kept

RESULT = Path(__file__).parent / "results" / "encoding.json"
STORED = (2048, 1536)
PASSES = 3
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Watched(Loader):
    """A loader that knows how long it was waited for. `ahead` off: decodes each batch when it is wanted."""

    def __init__(self, workers: int, ahead: bool) -> None:
        super().__init__(workers)
        self.ahead = ahead
        self.waited = 0.0

    def map(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        results = super().map(work, jobs) if self.ahead else map(work, jobs)
        nothing = object()
        while True:
            start = time.perf_counter()
            result = next(results, nothing)
            self.waited += time.perf_counter() - start
            if result is nothing:
                return
            yield result


class Row(NamedTuple):
    """What one row is about. `decoding`: "overlap", "in turn", or so many processes that overlap, as "2 workers"."""

    vae: str
    side: int
    pictures: int
    layout: str
    batch: int
    decoding: str
    kept: str = "in memory"
    layers: str = "quick"


def rows(pictures: int) -> list[Row]:
    demo = [Row("demo", 128, pictures, layout, batch, "overlap") for layout in LAYOUTS for batch in (1, 4, 16)]
    demo += [Row("demo", 128, pictures, "channels_last", 4, how) for how in ("in turn", "1 workers", "2 workers")]
    demo += [Row("demo", 128, pictures, "channels_last", 4, "overlap", "on disk")]
    sd = [Row("sd", 256, 8, "channels_last", 1, how) for how in ("overlap", "in turn")]
    sd += [Row("sd", 256, 8, layout, 1, "overlap", layers="diffusers'") for layout in LAYOUTS]
    return [*demo, *sd]


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
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )
    return vae.requires_grad_(False).eval()  # as what `tehon train` loads, or its layers would not be quick


def encoder(vae: Any, layout: torch.memory_format) -> Callable[[torch.Tensor], Any]:
    vae.to(memory_format=layout)

    @torch.no_grad()
    def encode(pictures: torch.Tensor) -> Any:
        posterior = vae.encode(pictures.contiguous(memory_format=layout)).latent_dist
        return posterior.mean, posterior.std

    return encode


def vae_of(name: str) -> Any:
    if name == "sd":
        return sd_vae()
    return behaviour_of(find_model(name).family).load(find_model(name), torch.float32, torch.device("cpu")).vae


def measure(row: Row, files: list[Path], cache: Path) -> tuple[float, float]:
    """(seconds of a pass, the seconds of them that it waited for pictures)."""
    vae = vae_of(row.vae)
    if row.layers == "quick":
        make_quick(vae.encoder, MOST_TRANSFORMED)
    encode = encoder(vae, LAYOUTS[row.layout])
    arrays = ArrayCache(cache) if row.kept == "on disk" else Memory()
    latents = KeptLatents(arrays, encode, "benchmark", torch.device("cpu"), print)
    workers = int(row.decoding.split()[0]) if row.decoding.endswith("workers") else 0
    loader = Watched(workers, ahead=row.decoding != "in turn")
    with large_blocks_kept() if row.layers == "quick" else nullcontext():
        encode(torch.zeros(row.batch, 3, row.side, row.side))
        start = time.perf_counter()
        assert sum(latents.fill(views_of(files[: row.pictures], row.side), row.batch, loader)) == row.pictures
        return time.perf_counter() - start, loader.waited


def guard(vae: Any) -> None:
    """Quick layers are quick ones, and give the latents that diffusers' give."""
    quick = deepcopy(vae)
    make_quick(quick.encoder, MOST_TRANSFORMED)
    pictures = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = (encoder(one, torch.channels_last)(pictures)[0] for one in (quick, deepcopy(vae)))
    assert any(getattr(layer, "transformed", None) is not None for layer in quick.encoder.modules())
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def decoded_per_second(files: list[Path], side: int) -> float:
    start = time.perf_counter()
    read_views(tuple(views_of(files, side)))
    return len(files) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a third of the pictures")
    pictures = 16 if parser.parse_args().quick else 48
    guard(sd_vae())
    passes: dict[Row, list[tuple[float, float]]] = {row: [] for row in rows(pictures)}
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder), pictures)
        decoding = {str(side): round(decoded_per_second(files, side), 2) for side in (128, 256, 512)}
        for number in range(PASSES):
            for row, found in passes.items():
                with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                    found.append(alone.submit(measure, row, files, Path(folder) / f"cache-{number}").result())
                print(row, found[-1], flush=True)
    facts: dict[str, Any] = {
        "decoded_per_second": decoding,
        "passes": PASSES,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(one, 1) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "processor": platform.machine(),
    }
    facts["rows"] = [
        row._asdict() | {"pictures_per_second": round(row.pictures / seconds, 3), "waited": round(waited / seconds, 3)}
        for row, (seconds, waited) in ((row, min(found)) for row, found in passes.items())
    ]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(facts, indent=2) + "\n", "utf8")


if __name__ == "__main__":
    main()
