"""Which of a run's LoRAs is the best by the loss on held-out pictures.

>>> best = best_measurement(open_run(path))
>>> best.step, best.loss, best.lora
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows

_BY_STEP = re.compile(r"-step(\d{8})$")
_BY_EPOCH = re.compile(r"-(\d{6})$")


@dataclass(frozen=True)
class Best:
    """The lowest loss, when it was measured, and the LoRA of that step where one was saved; else the nearest one."""

    step: int
    epoch: int
    loss: float
    lora: Path | None
    lora_step: int | None


def losses(run: RunDirectory) -> list[tuple[int, int, float]]:
    """(step, epoch, loss) of each measurement on held-out pictures, in their order."""
    table = rows(run.metrics)
    return [(row["step"], row["epoch"], row["validation_loss"]) for row in table if "validation_loss" in row]


def stale(values: Iterable[float]) -> int:
    """How many measurements in a row, counted from the last one back, brought no lower loss than before them."""
    best, since = float("inf"), 0
    for value in values:
        best, since = (value, 0) if value < best else (best, since + 1)
    return since


def best_measurement(run: RunDirectory) -> Best | None:
    """The lowest loss, the earlier of two equal ones; None where nothing was measured."""
    measured = losses(run)
    if not measured:
        return None
    step, epoch, loss = min(measured, key=lambda row: row[2])
    saved = checkpoints(run)
    nearest = min(saved, key=lambda at: (abs(at - step), at), default=None)
    return Best(step, epoch, loss, None if nearest is None else saved[nearest], nearest)


def checkpoints(run: RunDirectory) -> dict[int, Path]:
    """{step: LoRA file} of all files that the run still has, in the order of their steps; by kohya's names."""
    table = rows(run.metrics)
    ends = epoch_ends(table)
    found: dict[int, Path] = {}
    for file in sorted(run.weights.glob("*.safetensors")):
        by_step, by_epoch = _BY_STEP.search(file.stem), _BY_EPOCH.search(file.stem)
        last = max((row["step"] for row in table), default=0)
        step = int(by_step[1]) if by_step else ends.get(int(by_epoch[1])) if by_epoch else last
        if step is not None:
            found[step] = file
    return dict(sorted(found.items()))


def epoch_ends(table: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """{epoch, counted from 1: its last step}."""
    ends: dict[int, int] = {}
    for row in table:
        ends[row["epoch"]] = max(row["step"], ends.get(row["epoch"], 0))
    return ends
