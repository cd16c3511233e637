"""The public library: what the command line does, as a few functions. Importing it does not import torch.

>>> import tehon.api as tehon
>>> plan = tehon.make_plan(tehon.load_settings("mofu.toml", {"network.rank": 16}))
>>> outcome = tehon.train(plan)
>>> outcome.lora
PosixPath('output/mofu.safetensors')
>>> tehon.resume(outcome.run, options={"training.epochs": 20}).steps
2000
"""

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.runs.known import find_run
from tehon.runs.layout import RunDirectory
from tehon.runs.outcome import Outcome
from tehon.runs.read import open_run
from tehon.settings.files import load_settings
from tehon.settings.settings import Settings

if TYPE_CHECKING:
    from tehon.training.run import Watch

__all__ = ["Outcome", "Plan", "Problem", "RunDirectory", "Settings", "load_settings", "make_plan", "resume", "train"]


def train(plan: Plan, watch: "Watch | None" = None) -> Outcome:
    """Trains a plan; `watch(event, facts)` is told of everything that happens. Raises Problem."""
    from tehon.training.run import start_run

    return start_run(plan, watch or _nobody)


def resume(
    run: RunDirectory | str | os.PathLike[str],
    watch: "Watch | None" = None,
    options: Mapping[str, Any] | None = None,
    allow_changes: Collection[str] = (),
) -> Outcome:
    """Goes on with a run: that of an Outcome, of a directory, or the newest of a name. `options` are {dotted name:
    value} that change its settings, like {"training.epochs": 20}; `allow_changes` names what else may have changed
    since, as for `tehon resume`. Raises Problem."""
    from tehon.training.run import resume_run

    directory = run if isinstance(run, RunDirectory) else find_run(os.fspath(run))
    return resume_run(open_run(directory.path), watch or _nobody, options, allow_changes)


def _nobody(name: str, facts: dict[str, Any]) -> None:
    pass
