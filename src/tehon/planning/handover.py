"""A plan that another process is to run: whether it could start, and its settings as that process reads them.

>>> launch(ready(plan), Path(plan.settings.output.folder), plan.settings.output.name)
"""

from pathlib import Path

from tehon.messages.problem import Problem
from tehon.planning.plan import Plan
from tehon.planning.saves import final_name
from tehon.settings.files import to_toml
from tehon.settings.resolve import open_names


def taken(plan: Plan) -> Problem | None:
    """The Problem of a plan whose LoRA is there already, of which a plan alone need not say anything."""
    output = plan.settings.output
    place = Path(output.folder) / final_name(output.name)
    if output.overwrite or not place.exists():
        return None
    return Problem("output_exists", field="output.name", path=place)


def ready(plan: Plan) -> str:
    """The settings of a plan that could start now; a Problem when its LoRA is there already."""
    if (there := taken(plan)) is not None:
        raise there
    return settings_for(plan)


def settings_for(plan: Plan) -> str:
    """TOML in which the seed stands that was drawn, and open is what the other process fills as this one did."""
    return to_toml(plan.settings, open_names(plan.given, plan.settings))
