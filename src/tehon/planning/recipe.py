"""A run's recipe, as the metadata of its LoRAs have it.

>>> list(recipe_metadata(plan))
['tehon_settings']
"""

import json

from tehon.planning.plan import Plan
from tehon.settings.recipe import RECIPE, recipe


def recipe_metadata(plan: Plan) -> dict[str, str]:
    """The settings as they were given, and the seed that was drawn where none was."""
    told = recipe(plan.given) | {"training.seed": plan.seed}
    return {RECIPE: json.dumps(told, ensure_ascii=False)}
