"""Beside the form: what will happen, worked out anew whenever a setting changes."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nicegui import run, ui

from tehon.catalog.hub import asked
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.settings.settings import Settings
from tehon.web.complaint import complain
from tehon.web.draft import by_field
from tehon.web.naming import mark, worded
from tehon.web.stand_ins import of_stand_in
from tehon.web.workplace import Desk

if TYPE_CHECKING:
    from tehon.planning.plan import Plan
    from tehon.runs.layout import RunDirectory
    from tehon.web.train import Form

_WAIT = 0.35  # seconds without typing before a plan is made
_SLOW = 0.7  # seconds that a plan may take before it is said why


class PlanPanel:
    """The panel of one page. Plans are made in a thread; one that is overtaken by a later change is dropped."""

    def __init__(self, desk: Desk, form: "Form") -> None:
        self.desk = desk
        self.draft = desk.draft
        self.form = form
        self.turn = 0
        self.in_short = ""  # what stands in the way, or the latest plan, in a few words
        self.first: tuple[str, str] | None = None  # what stands in the way of a start, with its setting
        with ui.element("div").classes("panel"):
            with ui.element("div").classes("panel-head"):
                ui.label(say("web.plan")).classes("panel-title")
                self.spinner = ui.spinner(size="sm")
            with ui.element("div").classes("panel-buttons"):
                with ui.element("button").classes("in-short").on("click", self._show_first):
                    self.short = ui.label()  # in a narrow window alone, where these stay in sight and the plan does not
                self.start = ui.button(say("web.start"), icon="play_arrow", on_click=self._start).props(
                    "unelevated no-caps"
                )
                self.later = ui.button(say("web.enqueue"), icon="playlist_add", on_click=self._enqueue)
                self.later.props(f'outline no-caps aria-label="{say("web.enqueue")}"').classes("later")
            self.lookup = ui.label().classes("lookup").props('role="status"')
            self.body = ui.element("div").classes("panel-body").props('aria-live="polite"')
        self._wait(True)

    async def begin(self) -> None:
        """Makes the first plan, when the form has had time to be drawn."""
        self.turn += 1
        turn = self.turn
        await asyncio.sleep(_WAIT)
        await self._make(turn)

    def again(self) -> None:
        """The settings have changed."""
        self.turn += 1
        self._wait(True)
        turn = self.turn
        with self.body:
            ui.timer(_WAIT, lambda: self._make(turn), once=True)

    def _wait(self, waiting: bool) -> None:
        """While a plan is made, what is shown is of settings that are no more, and none can be started."""
        self.spinner.set_visibility(waiting)
        for shown in (self.body, self.short):
            shown.classes(add="stale") if waiting else shown.classes(remove="stale")
        for button in (self.start, self.later):
            button.set_enabled(not waiting)
        self.lookup.set_visibility(False)

    async def _say_lookup(self, turn: int, model: str) -> None:
        """Where a plan takes long because the hub is asked for something that is not on this machine, and for as long
        as it is."""
        while True:
            await asyncio.sleep(_SLOW)
            if turn != self.turn:
                return
            name = asked(model)
            self.lookup.set_visibility(bool(name))
            if name:
                self.lookup.text = self.short.text = say("web.looking_up", path=name)
                self.short.classes(remove="stale")
            else:
                self.short.text = self.in_short
                self.short.classes(add="stale")

    async def _make(self, turn: int) -> None:
        if turn != self.turn:
            return
        checked = self.draft.checked()
        found, plan = dict(checked.by_field), None
        settings = checked.settings or checked.so_far
        if settings is not None:
            slow = asyncio.create_task(self._say_lookup(turn, settings.model.path))
            try:
                plan, problems = await self.desk.workplace.plans.of(settings)
            except Problem as problem:
                problems = problem.all
            finally:
                slow.cancel()
            for problem in (one for several in problems for one in several.all if not of_stand_in(one, self.draft)):
                for name, sentences in by_field(problem).items():
                    found.setdefault(name, []).extend(sentences)
            if checked.settings is None:
                found = {name: found[name] for name in found if _is_true_so_far(name, plan, checked.needed)}
                plan = None
        if turn != self.turn:
            return
        self.form.complain(found)
        self._wait(False)
        if plan is None or found:
            self.start.disable()
            self.later.disable()
        self._show(checked.needed, found, plan)

    def _show(self, needed: Sequence[str], found: Mapping[str, list[str]], plan: "Plan | None") -> None:
        """What stands in the way of a start, then the plan; and either in a few words beside the buttons."""
        open_ones = [(say("web.needed", name=self.form.fields[name].label), name) for name in needed]
        wrong = [(sentence, name) for name, sentences in found.items() for sentence in sentences]
        self.first = next(iter([*open_ones, *wrong]), None)
        if self.first is not None:
            self.in_short = worded(self.first[0])
        elif plan is not None:
            self.in_short = say("web.in_short", pictures=len(plan.pictures), steps=plan.steps)
        self.short.text = self.in_short
        self.body.clear()
        with self.body:
            if not self.draft.values:
                presets, demo = say("web.presets"), say("preset.demo")
                ui.label(say("web.first_time", presets=presets, demo=demo)).classes("mark notice")
            for sentence, name in open_ones:
                mark(sentence, "edit", "needed", self.form.go_to, name)
            for sentence, name in wrong:
                mark(sentence, "error", "problem", self.form.go_to, name)
            if plan is not None:
                from tehon.web.plan_view import show_plan

                show_plan(plan, lambda notice: mark(notice, "info", "notice", self.form.go_to))

    def _show_first(self) -> None:
        """Leads to what stands in the way, or to the plan."""
        if self.first is not None and self.first[1]:
            self.form.go_to(self.first[1])
        else:
            ui.run_javascript(f"getHtmlElement({self.body.id}).scrollIntoView({{behavior: 'smooth'}})")

    async def _start(self) -> None:
        """Begins the run and shows it."""
        settings = self.draft.checked().settings
        if settings is None:
            return
        self.start.disable()
        try:
            directory = await run.io_bound(_start, settings)
        except Problem as problem:
            complain(problem)
        else:
            if directory is not None:
                self.desk.show_run(directory)
        self.start.enable()

    async def _enqueue(self) -> None:
        settings = self.draft.checked().settings
        if settings is None:
            return
        try:
            said = await run.io_bound(_enqueue, settings)
        except Problem as problem:
            complain(problem)
        else:
            if said is not None:
                ui.notify(said, multi_line=True)


def _is_true_so_far(name: str, plan: "Plan | None", needed: Sequence[str]) -> bool:
    """Whether a sentence about a setting, or about pictures where that is '', stays true whatever is chosen of what is
    needed."""
    if "model.path" in needed or not name:
        return name.startswith("data.") or (not name and plan is not None)
    return not name.startswith("output.")


# These run in threads, and import there what the form does not need.


def _start(settings: Settings) -> "RunDirectory":
    from tehon.web.actions import start

    return start(settings)


def _enqueue(settings: Settings) -> str:
    """What came of it; also where no job begins by itself, which else would be found out in the morning."""
    from tehon.runs.queue import Queue
    from tehon.web.actions import enqueue

    job, queue = enqueue(settings), Queue()
    said = say("web.enqueued", number=job.number, name=job.name)
    if queue.paused or not queue.is_served(job):
        button = say("web.queue_resume" if queue.paused else "web.queue_start")
        said = say("web.enqueued_idle", said=said, button=button, tab=say("web.tab_runs"))
    return said
