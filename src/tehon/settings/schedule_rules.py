"""Which settings each learning-rate schedule heeds, and what cannot be meant.

>>> read_pieces("1:30,0.1:60,0.01")
((30, 1.0), (60, 0.1), (inf, 0.01))
"""

import re
from collections.abc import Iterator
from math import inf

from tehon.messages.problem import Problem
from tehon.settings.optimizer import OptimizerSettings

_WARMUP = {"lr_warmup", "lr_warmup_steps"}
HEEDED: dict[str, set[str]] = {
    "constant": set(),
    "constant_with_warmup": _WARMUP,
    "cosine": _WARMUP,
    "cosine_with_restarts": _WARMUP | {"lr_scheduler_num_cycles"},
    "linear": _WARMUP,
    "polynomial": _WARMUP | {"lr_scheduler_num_cycles", "lr_scheduler_power"},
    "cosine_with_min_lr": _WARMUP | {"lr_scheduler_num_cycles", "lr_scheduler_min_lr_ratio"},
    "inverse_sqrt": _WARMUP | {"lr_scheduler_timescale"},
    "warmup_stable_decay": _WARMUP | {"lr_decay", "lr_scheduler_min_lr_ratio"},
    "rex": _WARMUP,
    "piecewise_constant": {"lr_scheduler_pieces"},
    "adafactor": set(),
}
"""{schedule: the settings that change it}."""

Pieces = tuple[tuple[float, float], ...]
_PIECES = re.compile(r"(\s*\d*\.?\d+\s*:\s*\d+\s*,)*\s*\d*\.?\d+\s*")


def schedule_problems(settings: OptimizerSettings) -> Iterator[Problem]:
    """A Problem for each contradiction within the schedule's settings."""
    if settings.lr_scheduler == "piecewise_constant":
        try:
            read_pieces(settings.lr_scheduler_pieces)
        except ValueError:
            value = repr(settings.lr_scheduler_pieces)
            yield Problem("pieces_wrong", field="optimizer.lr_scheduler_pieces", value=value)
    if settings.lr_scheduler == "warmup_stable_decay" and not settings.lr_warmup_steps:
        warmup, decay = settings.lr_warmup, settings.lr_decay
        if warmup + decay > 100:
            yield Problem("warmup_and_decay", field="optimizer.lr_decay", warmup=warmup, decay=decay)


def read_pieces(rule: str) -> Pieces:
    """piecewise_constant's (last step, factor) in order, from the notation of diffusers: `1:30,0.1:60,0.01` is the
    factor 1 up to step 30, 0.1 up to step 60, 0.01 to the end. ValueError when it is none."""
    if not _PIECES.fullmatch(rule):
        raise ValueError(f"not a rule of pieces: {rule}")
    *rows, last = rule.split(",")
    found = [(float(end), float(factor)) for factor, end in (row.split(":") for row in rows)]
    ends = [end for end, _ in found]
    if ends != sorted(set(ends)):
        raise ValueError(f"the steps of {rule} don't rise")
    return (*found, (inf, float(last)))


def unheeded(settings: OptimizerSettings, schedule: str) -> list[str]:
    """Names of settings that were written to change the schedule and do nothing with the one that is used."""
    names = set[str]().union(*HEEDED.values()) - HEEDED[schedule]
    if settings.lr_warmup_steps:
        names.add("lr_warmup")
    own = {name: info.default for name, info in OptimizerSettings.model_fields.items()} | {"lr_warmup": 0.0}
    return sorted(name for name in names & settings.model_fields_set if getattr(settings, name) != own[name])
