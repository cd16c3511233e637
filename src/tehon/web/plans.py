"""Plans of the form: windows that want one of the same settings at the same time wait for the same.

>>> plan, problems = await plans.of(settings)
"""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from nicegui import run

from tehon.messages.problem import Problem
from tehon.settings.settings import Settings

if TYPE_CHECKING:
    from tehon.planning.plan import Plan

Made = tuple["Plan", list[Problem]]
"""The plan, and what stands in the way of its start."""


class Plans:
    """The last one that was asked for, while it is made."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._task: asyncio.Task[Made] | None = None

    def forget(self, *_: object) -> None:
        """The form has changed, or with the same settings the pictures: what is being made may be of earlier ones."""
        self._task = None

    async def of(self, settings: Settings) -> Made:
        """Made in a thread; a Problem when it can't be."""
        if self._task is None or self._task.done() or self._settings != settings:
            self._settings = settings
            self._task = asyncio.create_task(_in_thread(settings))
        return await asyncio.shield(self._task)  # a window that is closed takes it from no other


async def _in_thread(settings: Settings) -> Made:
    found = await run.io_bound(_plan, settings)
    if found is None:  # the server is going down
        raise asyncio.CancelledError
    return found


def _plan(settings: Settings) -> Made:
    """Run in a thread, and imports there what the form does not need."""
    from tehon.planning.handover import taken
    from tehon.planning.plan import draft_plan

    import_module("tehon.web.plan_view")  # which then is there when the plan is shown
    plan = draft_plan(settings)
    there = taken(plan)
    return plan, [*plan.troubles.problems, *([there] if there else [])]
