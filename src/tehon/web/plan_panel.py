"""Beside the form: what will happen, worked out anew whenever a setting changes."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nicegui import run, ui

from tehon.disk import megabytes
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.blocks import block_numbers, rate_weights
from tehon.planning.module_table import network_line
from tehon.planning.notices import notices_for
from tehon.planning.peak import estimate, gigabytes
from tehon.planning.plan import Plan, draft_plan
from tehon.planning.report import arithmetic
from tehon.planning.saves import bytes_needed, planned_loras
from tehon.settings.settings import Settings
from tehon.web import actions, charts
from tehon.web.complaint import complain
from tehon.web.draft import by_field
from tehon.web.workplace import Desk

if TYPE_CHECKING:
    from tehon.web.train import Form

_WAIT = 0.35  # seconds without typing before a plan is made
_POINTS = 160  # of a curve
_ROWS = 12  # buckets shown


class PlanPanel:
    """The panel of one page. Plans are made in a thread; one that is overtaken by a later change is dropped."""

    def __init__(self, desk: Desk, form: "Form") -> None:
        self.desk = desk
        self.draft = desk.draft
        self.form = form
        self.turn = 0
        with ui.element("div").classes("panel"):
            with ui.element("div").classes("panel-head"):
                ui.label(say("web.plan")).classes("panel-title")
                self.spinner = ui.spinner(size="sm")
            with ui.element("div").classes("panel-buttons"):
                self.start = ui.button(say("web.start"), icon="play_arrow", on_click=self._start).props(
                    "unelevated no-caps"
                )
                self.later = ui.button(say("web.enqueue"), icon="playlist_add", on_click=self._enqueue)
                self.later.props("outline no-caps")
            self.body = ui.element("div").classes("panel-body").props('aria-live="polite"')

    def again(self) -> None:
        """The settings have changed."""
        self.turn += 1
        self.spinner.set_visibility(True)
        turn = self.turn
        with self.body:
            ui.timer(_WAIT, lambda: self._make(turn), once=True)

    async def _make(self, turn: int) -> None:
        if turn != self.turn:
            return
        checked = self.draft.checked()
        found, plan = dict(checked.by_field), None
        if checked.settings is not None:
            try:
                plan = await _planned(checked.settings)
            except Problem as problem:
                found = by_field(problem)
            else:
                for problem in plan.troubles.problems:
                    for name, sentences in by_field(problem).items():
                        found.setdefault(name, []).extend(sentences)
        if turn != self.turn:
            return
        self.form.complain(found)
        for button in (self.start, self.later):
            button.set_enabled(plan is not None and not plan.troubles.problems)
        self.spinner.set_visibility(False)
        self.body.clear()
        with self.body:
            for name in checked.needed:
                self._mark(say("web.needed", name=self.form.fields[name].label), name, "edit", "needed")
            self._problems(found)
            if plan is not None:
                self._plan(plan)

    async def _start(self) -> None:
        """Begins the run and shows it."""
        settings = self.draft.checked().settings
        if settings is None:
            return
        self.start.disable()
        try:
            directory = await run.io_bound(actions.start, settings)
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
            job = await run.io_bound(actions.enqueue, settings)
        except Problem as problem:
            complain(problem)
        else:
            if job is not None:
                ui.notify(say("web.enqueued", number=job.number, name=job.name))

    def _problems(self, found: dict[str, list[str]]) -> None:
        for name, sentences in found.items():
            for sentence in sentences:
                self._mark(sentence, name, "error", "problem")

    def _mark(self, sentence: str, name: str, icon: str, kind: str) -> None:
        """A sentence that leads to its setting."""
        tag = "button" if name else "div"
        with ui.element(tag).classes(f"mark {kind}") as mark:
            ui.icon(icon).props('aria-hidden="true"')
            ui.label(sentence)
        if name:
            mark.on("click", lambda: self.form.go_to(name))

    def _plan(self, plan: Plan) -> None:
        with ui.element("div").classes("figures"):
            _figure(str(len(plan.pictures)), say("web.pictures"))
            _figure(str(plan.steps), say("web.steps"))
            _figure(str(plan.epochs), say("web.epochs"))
        ui.label(arithmetic(plan)).classes("small")
        for notice in notices_for(plan):
            self._mark(notice, _setting_in(notice, self.form), "info", "notice")
        ui.label(say("web.buckets")).classes("sub")
        reads = [(f"{g.bucket[0]}×{g.bucket[1]}", g.reads(plan.repeats)) for g in plan.groups]
        shown = sorted(reads, key=lambda row: -row[1])[:_ROWS]
        ui.echart(charts.buckets(shown)).style(f"height:{40 + 24 * len(shown)}px").classes("chart")
        ui.label(say("web.rates")).classes("sub")
        ui.echart(charts.curves(_rates(plan))).classes("chart rates")
        for title, numbers in block_numbers_of(plan).items():
            ui.label(title).classes("sub")
            ui.html(charts.blocks(title, numbers), sanitize=False)
        ui.label(network_line(plan)).classes("small")
        saves = say("web.saves", count=len(planned_loras(plan)) + 1, size=megabytes(bytes_needed(plan)))
        ui.label(saves).classes("small")
        memory = estimate(plan)
        if memory is not None:
            size, phase = gigabytes(memory.peak.total), say(f"memory.phase_{memory.peak.name}")
            ui.label(say("web.memory", size=size, phase=phase)).classes("small")


async def _planned(settings: Settings) -> Plan:
    plan = await run.io_bound(draft_plan, settings)
    if plan is None:  # the server is going down
        raise asyncio.CancelledError
    return plan


def _figure(number: str, what: str) -> None:
    with ui.element("div").classes("figure"):
        ui.label(number).classes("figure-number")
        ui.label(what).classes("figure-what")


def _rates(plan: Plan) -> dict[str, list[tuple[float, float]]]:
    steps = sorted({round(i * (plan.steps - 1) / max(1, _POINTS - 1)) for i in range(_POINTS)})
    return {say(f"plan.part_{root}"): [(step + 1, plan.rate(root, step)) for step in steps] for root in plan.base_rates}


def block_numbers_of(plan: Plan) -> dict[str, dict[str, float]]:
    """By title: what each block of the U-Net has of its own, for those of the lists by block that are given."""
    network, blocks = plan.settings.network, plan.family.blocks
    lists: dict[str, Sequence[float]] = {}
    if (network.down_lr_weight, network.mid_lr_weight, network.up_lr_weight) != ("", "", ""):
        lists[say("web.block_rates")] = rate_weights(network, blocks)
    for title, name in (
        (say("web.block_ranks"), "block_dims"),
        (say("web.block_alphas"), "block_alphas"),
        (say("web.block_conv_ranks"), "conv_block_dims"),
        (say("web.block_conv_alphas"), "conv_block_alphas"),
    ):
        value = getattr(network, name)
        if value != "":
            lists[title] = block_numbers(f"network.{name}", value, blocks.count)
    names = [blocks.name(index) for index in range(blocks.count)]
    return {title: dict(zip(names, numbers, strict=True)) for title, numbers in lists.items()}


def _setting_in(sentence: str, form: "Form") -> str:
    """The setting that a notice begins with, or ''."""
    name = sentence.partition(":")[0]
    return name if name in form.fields else ""
