"""Which of a run's LoRAs is the best by the loss on held-out pictures.

>>> best = best_measurement(open_run(path))
>>> best.step, best.loss, best.lora
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
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
    """{step: LoRA file} of all files that the run still has, in the order of their steps; two of one step are told
    apart by nothing but their names, and the last of them stands for both."""
    table = rows(run.metrics)
    ends = epoch_ends(table)
    last = max((row["step"] for row in table), default=0)
    found: dict[int, Path] = {}
    for file in sorted(run.weights.glob("*.safetensors")):
        step = _stated_step(file)
        if step is None:
            step = _step_by_name(file, ends, last)
        if step is not None:
            found[step] = file
    return dict(sorted(found.items()))


def _stated_step(file: Path) -> int | None:
    """The step that a LoRA's own metadata say; None where they say none, or the file can't be read."""
    try:
        said = read_header(file).metadata.get("ss_steps", "")
    except Problem:
        return None
    return int(said) if said.isdecimal() else None


def _step_by_name(file: Path, ends: Mapping[int, int], last: int) -> int | None:
    """The step by kohya's names: a number of steps, of an epoch, or none in the last file."""
    by_step, by_epoch = _BY_STEP.search(file.stem), _BY_EPOCH.search(file.stem)
    return int(by_step[1]) if by_step else ends.get(int(by_epoch[1])) if by_epoch else last


def epoch_ends(table: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """{epoch, counted from 1: its last step}."""
    ends: dict[int, int] = {}
    for row in table:
        ends[row["epoch"]] = max(row["step"], ends.get(row["epoch"], 0))
    return ends
