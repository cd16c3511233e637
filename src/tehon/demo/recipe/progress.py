"""The recipe's own saved progress, so that it can be cut off and continued, and its training log."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch


class Stage:
    """One stage of the recipe: a log, and a state that survives being cut off."""

    def __init__(self, folder: Path, name: str, log: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.file = folder / f"{name}.pt"
        self.log = log
        self._start = time.monotonic()

    def load(self, **parts: Any) -> int:
        """Restores the parts and returns the step to go on from; 0 without a saved state."""
        if not self.file.exists():
            return 0
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save(self, step: int, **parts: Any) -> None:
        aside = self.file.with_suffix(".new")
        torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, aside)
        aside.replace(self.file)

    def report(self, step: int, **figures: float) -> None:
        row = {"stage": self.name, "step": step, "seconds": round(time.monotonic() - self._start, 1)}
        row |= {name: round(value, 5) for name, value in figures.items()}
        print(row, flush=True)
        with self.log.open("a", encoding="utf8") as file:
            file.write(json.dumps(row) + "\n")


def rate(step: int, total: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, total - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value
