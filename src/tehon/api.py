"""The public library: what the command line does, as three functions. Importing it does not import torch.

>>> import tehon.api as tehon
>>> plan = tehon.make_plan(tehon.load_settings(Path("mofu.toml"), {"network.rank": 16}))
>>> outcome = tehon.train(plan)
>>> outcome.lora
"""

from typing import TYPE_CHECKING, Any

from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.settings.files import load_settings
from tehon.settings.settings import Settings

if TYPE_CHECKING:
    from tehon.training.run import Outcome, Watch

__all__ = ["Plan", "Problem", "Settings", "load_settings", "make_plan", "train"]


def train(plan: Plan, watch: "Watch | None" = None) -> "Outcome":
    """Trains a plan; `watch(event, facts)` is told of everything that happens. Raises Problem."""
    from tehon.training.run import start_run

    return start_run(plan, watch or _nobody)


def _nobody(name: str, facts: dict[str, Any]) -> None:
    pass
