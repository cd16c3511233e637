"""All that changes while a run trains, and how it is saved and comes back.

Random numbers are functions of (seed, epoch, picture) and the rates are functions of the step, so weights, the
optimizer's memory and the step number are the whole state.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tehon.adapters.flat import FlatParameters
from tehon.messages.problem import Problem
from tehon.runs.record import write_aside
from tehon.training.optimizers import Optimizer


@dataclass
class State:
    """`step` counts the updates that are done."""

    flat: FlatParameters
    optimizer: Optimizer
    step: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "weights": self.flat.weights, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.flat.weights.copy_(saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = int(saved["step"])


def save_state(state: State, file: Path, fingerprint: str) -> None:
    """Writes the state aside and renames it. `fingerprint` says for which settings and data it holds."""
    buffer = io.BytesIO()
    torch.save(state.state_dict() | {"fingerprint": fingerprint}, buffer)
    write_aside(file, buffer.getvalue())


def load_state(state: State, file: Path, fingerprint: str) -> None:
    """Brings a saved state back; a Problem when it is damaged or belongs to other settings or data."""
    try:
        saved = torch.load(file, map_location=state.flat.weights.device, weights_only=True)
        own = saved["fingerprint"]
    except Exception:  # noqa: BLE001  torch raises whatever its reader met
        raise Problem("state_broken", path=file) from None
    if own != fingerprint:
        raise Problem("state_of_other_data", path=file)
    state.load_state_dict(saved)
