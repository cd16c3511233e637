"""How soon the first step comes, of the demo and of Stable Diffusion 1.5 in real size.

`python benchmarks/start.py [--rounds N] [--folder FOLDER]` takes turns with fresh processes: one that only imports
torch, one that imports the networks as their libraries do by themselves, and `tehon train` up to its first step on the
demo's recipe, which reads and encodes its 176 pictures. Then `tehon train` on Stable Diffusion 1.5 with drawn weights
and 20 pictures of 256 pixels, in fp32: cold, with a new cache, and warm, with the latents that the cold one has kept.
Seconds by the clock, the least of all rounds, go to `benchmarks/results/start.json`, beside the machine's rate for
products of large matrices, since machines differ. The loss of a first step has to be the same in all rounds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tomli_w
import torch
from sizes import SIZES, model_folder, pictures_folder

from tehon.demo.lesson import prepared

RESULT = Path(__file__).parent / "results" / "start.json"
PLAIN = "import torch, diffusers.models.unets.unet_2d_condition, transformers.models.clip.modeling_clip"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(code: str) -> float:
    """Of a process that runs this code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)
    return time.perf_counter() - start


def first_step(config: Path, folder: Path, *options: str) -> tuple[float, float]:
    """(seconds from the command to the end of its first step, the loss there)."""
    words = [sys.executable, "-m", "tehon", "train", str(config), "--json", "--output.folder", str(folder), *options]
    start = time.perf_counter()
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "step":
                found = time.perf_counter() - start, event["loss"]
                process.kill()
                return found
    raise AssertionError("it ended before its first step")


def of_real_size(root: Path, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, cold and warm."""
    size = SIZES["sd15-256"]
    tree = {
        "model": {"path": str(model_folder(root, size))},
        "data": {"folder": str(pictures_folder(root, size.side, 20)), "resolution": size.side},
        "network": {"rank": 8, "alpha": 8.0},
        "optimizer": {"name": "AdamW", "text_encoder_lr": 0.0},
        "training": {"seed": 1, "device": "cpu", "max_train_steps": 100},
        "feed": {"cache_latents_to_disk": True},
    }
    config = folder / "real.toml"
    config.write_text(tomli_w.dumps(tree), "utf8")
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    losses: set[float] = set()
    for number in range(rounds):
        for name, times in found.items():
            cache = ("--feed.cache_folder", str(folder / f"cache-{number}"))
            took, loss = first_step(config, folder / f"{name}-{number}", *cache)
            times.append(took)
            losses.add(loss)
    assert len(losses) == 1, losses
    return found


def products() -> float:
    """GFLOP/s of fp32 products of 2048 x 2048 matrices, the best of ten."""
    left, right = torch.randn(2, 2048, 2048)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where models are kept; without it they are written for the run")
    options = parser.parse_args()
    rounds = options.rounds
    times: dict[str, list[float]] = {"import_torch": [], "plain_imports": [], "first_step": []}
    losses: set[float] = set()
    with tempfile.TemporaryDirectory() as name:
        config = Path(name, "demo.toml")
        config.write_text(tomli_w.dumps(prepared(Path(name))), "utf8")
        for number in range(rounds):
            times["import_torch"].append(seconds("import torch"))
            times["plain_imports"].append(seconds(PLAIN))
            took, loss = first_step(config, Path(name, str(number)))
            times["first_step"].append(took)
            losses.add(loss)
        real = of_real_size(options.folder or Path(name), Path(name), rounds)
    assert len(losses) == 1, losses
    least = {name: round(min(values), 2) for name, values in times.items()}
    result = {
        "seconds": least,
        "first_step_in_imports_of_torch": round(least["first_step"] / least["import_torch"], 2),
        "rounds": times,
        "real_size": {name: round(min(values), 2) for name, values in real.items()},
        "real_size_rounds": real,
        "loss": losses.pop(),
        "gflops": round(products()),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
