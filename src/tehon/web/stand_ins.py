"""What stands in for a model that is still to be chosen knows nothing of that model's own resolution.

>>> found = [problem for problem in problems if not of_stand_in(problem, draft)]
"""

from tehon.messages.problem import Problem
from tehon.web.draft import Draft


def of_stand_in(problem: Problem, draft: Draft) -> bool:
    """Whether a mistake is one for the resolution of the stand-in alone, which somebody's model may not have."""
    open_ones = draft.get("model.path") is None and draft.get("data.resolution") is None
    return open_ones and problem.key == "resolution_outside_buckets"
