"""How much less time a step takes once the text encoder's training has ended.

`python benchmarks/stop_text_encoder.py` trains the demo's recipe a few times in turn, to the end and with the text
encoder's end at half time, and compares the steps of the second half. The figures go to
`benchmarks/results/stop_text_encoder.json`.
"""

import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tehon.demo.lesson import SETTINGS
from tehon.demo.mofu import write_data_set
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import assemble

RESULT = Path(__file__).parent / "results" / "stop_text_encoder.json"
STEPS, ROUNDS, WARM = 16, 3, 3  # the first steps of each half are left out


def seconds(folder: Path, percent: float) -> list[float]:
    """Of each step of a training."""
    tree: dict[str, Any] = {section: dict(values) for section, values in SETTINGS.items()}
    tree["data"]["folder"] = str(folder)
    tree["optimizer"]["stop_text_encoder_training"] = percent
    tree["training"]["max_train_steps"] = STEPS
    tree["output"]["folder"] = str(folder)
    trainer = assemble(make_plan(validate(tree)))
    found: list[float] = []
    before = time.perf_counter()
    for _ in trainer.updates():
        now = time.perf_counter()
        found.append(now - before)
        before = now
    return found


def main() -> None:
    halves: dict[str, list[float]] = {"first": [], "second, trained": [], "second, ended": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data_set(folder)
        for _ in range(ROUNDS):
            trained, ended = seconds(folder, 0.0), seconds(folder, 50.0)
            half = STEPS // 2
            halves["first"] += trained[WARM:half] + ended[WARM:half]
            halves["second, trained"] += trained[half + WARM :]
            halves["second, ended"] += ended[half + WARM :]
    medians = {key: round(median(values), 4) for key, values in halves.items()}
    result: dict[str, Any] = {
        "seconds_per_step": medians,
        "share": round(medians["second, ended"] / medians["second, trained"], 3),
        "steps": {key: len(values) for key, values in halves.items()},
        "model": "demo",
        "batch_size": SETTINGS["data"]["batch_size"],
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
