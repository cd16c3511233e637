"""What happens beside the updates: each chore says when it is due and what it then does."""

import time
from collections import deque
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch

from tehon.messages.problem import Problem
from tehon.runs.read import RECENT, recent_rows
from tehon.runs.record import append_rows
from tehon.training.loop import Report

Tell = Callable[..., None]
"""Tells of an event: tell("lora_saved", path="mine.safetensors", step=4)."""


class Chore(Protocol):
    """Called after every update."""

    def due(self, report: Report) -> bool: ...

    def run(self, report: Report) -> None: ...


class Metrics:
    """Reads the losses off the device, several at a time, checks them, and appends them to metrics.jsonl."""

    def __init__(
        self, file: Path, every: int, last: int, name_of: Callable[[int], str], confirm: Callable[[], None]
    ) -> None:
        """`name_of` gives the name of a picture; `confirm` is called when all losses so far were finite."""
        self.file = file
        self.every = every
        self.last = last
        self.name_of = name_of
        self.confirm = confirm
        self.waiting: list[tuple[Report, float]] = []
        self.losses = deque((row["loss"] for row in recent_rows(file)), maxlen=RECENT)
        self.recent_loss: float | None = None
        """The mean loss of the last steps, from the first look on."""

    def due(self, report: Report) -> bool:
        self.waiting.append((report, time.time()))
        return len(self.waiting) >= self.every or self.recent_loss is None or report.step == self.last

    def run(self, report: Report) -> None:
        figures = torch.stack([torch.stack([r.loss, r.gradient_norm]) for r, _ in self.waiting]).tolist()
        norms = [_norms(report) for report, _ in self.waiting]
        rows: list[dict[str, Any]] = [
            {
                "step": r.step,
                "epoch": r.epoch + 1,
                "loss": loss,
                "gradient_norm": norm,
                "rates": dict(r.rates),
                "time": at,
                **norms,
            }
            for (r, at), (loss, norm), norms in zip(self.waiting, figures, norms, strict=True)
        ]
        for row, (report, _) in zip(rows, self.waiting, strict=True):
            if report.skipped:
                del row["gradient_norm"]
                row["skipped"] = True
        spoiled = next((place for place, row in enumerate(rows) if not _finite(row)), None)
        append_rows(self.file, rows[:spoiled])
        if spoiled is not None:
            self._complain(self.waiting[spoiled][0], is_loss=not isfinite(rows[spoiled]["loss"]))
        self.losses += [row["loss"] for row in rows]
        self.recent_loss = fmean(self.losses)
        self.waiting.clear()
        self.confirm()

    def flush(self) -> None:
        """Reads and writes what still waits: before a save, so that no state of a spoiled run is kept."""
        if self.waiting:
            self.run(self.waiting[-1][0])

    def _complain(self, report: Report, is_loss: bool) -> None:
        names = ", ".join(sorted({self.name_of(read.picture) for batch in report.batches for read in batch.reads}))
        rates = ", ".join(f"{group} {rate:g}" for group, rate in report.rates.items())
        if is_loss:
            raise Problem("loss_not_finite", step=report.step, names=names, rates=rates)
        raise Problem("gradient_not_finite", step=report.step, names=names, rates=rates)


def _finite(row: dict[str, Any]) -> bool:
    return isfinite(row["loss"]) and isfinite(row.get("gradient_norm", 0.0))


def _norms(report: Report) -> dict[str, Any]:
    """What the limit on norms did: {} without one."""
    if report.norms is None:
        return {}
    norms = report.norms
    return {
        "norms_scaled": int(norms.scaled),
        "norm_mean": float(norms.mean),
        "norm_largest": float(norms.largest),
    }
