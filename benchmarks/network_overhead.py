"""What a training step costs with each kind of network, against plain LoRA of the same rank; one JSON a run.

`python benchmarks/network_overhead.py` measures forward and backward of the small model's U-Net and text encoder, batch
4 at 128 x 128, in rounds that take turns, and states the fastest round of each: least disturbed by other work.
`--table` prints the table of docs/networks.md from the result.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from networks_demo import circumstances
from PIL import Image

from tehon.adapters.dylora import share_used
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble

RESULT = Path(__file__).parent / "results" / "network_overhead.json"
DRAWN = "dylora, an update with few ranks"
NETWORKS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, all dropouts 0.1": {"dropout": 0.1, "rank_dropout": 0.1, "module_dropout": 0.1},
    "lora, norms limited": {"scale_weight_norms": 1.0},
    "lora_fa": {"kind": "lora_fa"},
    "dylora": {"kind": "dylora"},
    DRAWN: {"kind": "dylora"},
    "dora": {"dora": True},
    "loha": {"kind": "loha"},
    "lokr, factor 4": {"kind": "lokr", "factor": 4},
    "ia3": {"kind": "ia3"},
    "locon": {"kind": "locon"},
    "loha with convolutions": {"kind": "loha", "conv_rank": 8},
    "lokr, factor 4, with convolutions": {"kind": "lokr", "factor": 4, "conv_rank": 8},
}


def trainer_of(network: dict[str, Any], folder: Path) -> Trainer:
    tree = {
        "model": {"path": "demo"},
        "data": {"folder": str(folder / "pictures"), "resolution": 128, "batch_size": 4},
        "network": network,
        "training": {"seed": 1, "device": "cpu"},
        "output": {"folder": str(folder)},
    }
    return assemble(make_plan(validate(tree)))


def go_where_ranks_are_drawn(trainer: Trainer) -> None:
    """To the first update that uses less than all ranks."""
    steps = trainer.plan.steps
    trainer.state.step = next(step for step in range(steps) if share_used(step, steps) < 1)


def step_seconds(trainer: Trainer) -> float:
    """One update, as the loop makes it."""
    (epoch, batches) = trainer.plan.group(0)
    trainer.state.flat.gradients.zero_()
    start = time.perf_counter()
    trainer.step.losses_of(epoch, batches[0]).mean().backward()
    trainer.state.optimizer.step()
    trainer._limit_norms()  # pyright: ignore[reportPrivateUsage]
    return time.perf_counter() - start


def table() -> str:
    data = json.loads(RESULT.read_text("utf8"))
    lines = ["| network | seconds a step | against lora |", "|---|---|---|"]
    for name, row in data["networks"].items():
        lines.append(f"| {name} | {row['seconds']:.3f} | {row['against_lora']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    folder = Path(tempfile.mkdtemp())
    pictures = folder / "pictures" / "400_thing"
    pictures.mkdir(parents=True)
    Image.new("RGB", (128, 128), (200, 30, 40)).save(pictures / "0.png")
    trainers = {name: trainer_of(network, folder) for name, network in NETWORKS.items()}
    go_where_ranks_are_drawn(trainers[DRAWN])
    best = dict.fromkeys(trainers, float("inf"))
    for number in range(options.rounds + 1):
        for name, trainer in trainers.items():
            seconds = step_seconds(trainer)
            if number:  # the first round warms up
                best[name] = min(best[name], seconds)
    rows = {
        name: {"seconds": seconds, "against_lora": seconds / best["lora"], "network": NETWORKS[name]}
        for name, seconds in best.items()
    }
    figures = {"batch": 4, "side": 128, "rounds": options.rounds, "networks": rows}
    RESULT.write_text(json.dumps(figures | circumstances(), indent=2) + "\n", "utf8")
    print(table())


if __name__ == "__main__":
    main()
