"""The queue on the tab Runs: jobs in their order, moved, removed and tried again; started, paused, gone on with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.runs.queue import ENDED, WAITING, Job, Queue, job_state, seen
from tehon.runs.status import Status
from tehon.web.complaint import complain

_UNFINISHED = ("failed", "died", "stopped", "interrupted")


@dataclass(frozen=True)
class Row:
    """A job as it is shown; `reason` says why it failed."""

    job: Job
    state: str
    reason: str


@dataclass(frozen=True)
class Sight:
    """All that is shown of the queue. `worked` says whether a worker is there, `idle` which device the first job wants
    that no worker will come to, or is ''."""

    rows: tuple[Row, ...]
    paused: bool
    worked: bool
    idle: str


def sight(queue: Queue, known: Iterable[Status]) -> Sight:
    """What is to be shown; of the jobs that are over, those that did not finish. `known` are runs that were looked at
    already."""
    looked = {str(status.run.path): status for status in known}
    rows: list[Row] = []
    for job in queue.jobs():
        status = looked.get(job.run) or seen(job)
        state = job_state(queue, job, status)
        if job.state != ENDED or state in _UNFINISHED:
            reason = job.trouble or (status.reason if status and state == "failed" else "")
            rows.append(Row(job, state, reason or ""))
    left = (row.job for row in rows if row.job.state != ENDED and not queue.is_served(row.job))
    idle = next((job.worker or job.device for job in left), "")
    return Sight(tuple(rows), queue.paused, bool(queue.workers()), idle)


class QueueCard:
    """Shown where there are jobs."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.shown: Sight | None = None
        self.box = ui.element("div").classes("panel queue")
        self.box.set_visibility(False)

    def refresh(self, known: Iterable[Status] = ()) -> None:
        """Reads the queue again, and draws it where it has changed."""
        try:
            now = sight(self.queue, known)
        except Problem as problem:  # said in its place, as this is asked every few seconds
            self.shown = None
            self.box.clear()
            self.box.set_visibility(True)
            with self.box:
                ui.label(str(problem)).classes("mark problem")
            return
        if now == self.shown:
            return
        self.shown = now
        self.box.set_visibility(bool(now.rows))
        self.box.clear()
        with self.box:
            with ui.element("div").classes("panel-head"):
                ui.label(say("web.queue")).classes("panel-title")
                self._switch(now)
            if now.paused:
                ui.label(say("web.queue_paused")).classes("mark notice")
            waiting = [row.job for row in now.rows if row.job.state == WAITING]
            for row in now.rows:
                self._row(row, waiting)

    def _switch(self, now: Sight) -> None:
        """What makes sense now: where one device is at work, another one may have to be begun with."""
        if now.paused:
            self._button(say("web.queue_resume"), self._go_on)
            return
        if now.worked:
            self._button(say("web.queue_pause"), partial(self._try, self.queue.pause))
        if now.idle:
            self._button(say("web.queue_start"), self._start)

    def _button(self, label: str, action: Callable[[], object]) -> None:
        ui.button(label, on_click=action).props("dense outline no-caps")

    def _row(self, row: Row, waiting: list[Job]) -> None:
        job = row.job
        with ui.element("div").classes("queue-row"):
            ui.label(f"{job.number}. {job.name}").classes("run-name")
            if job.state == WAITING:
                place = waiting.index(job) + 1
                self._tool("arrow_upward", say("web.up"), partial(self.queue.move, job.number, max(1, place - 1)))
                self._tool("arrow_downward", say("web.down"), partial(self.queue.move, job.number, place + 1))
            else:
                ui.label(say(f"state.{row.state}")).classes("small")
            if job.state == ENDED:
                self._tool("replay", say("web.try_again"), partial(self.queue.retry, job.number))
            if job.state in (WAITING, ENDED):
                self._tool("close", say("web.remove"), partial(self.queue.remove, [job.number]))
        if row.reason:
            ui.label(row.reason).classes("mark problem")

    def _tool(self, icon: str, label: str, change: Callable[[], object]) -> None:
        tool = ui.button(icon=icon, on_click=partial(self._try, change))
        tool.props(f'flat dense round size=sm aria-label="{label}"').tooltip(label)

    def _try(self, change: Callable[[], object]) -> None:
        try:
            change()
        except Problem as problem:
            complain(problem)
        self.refresh()

    async def _start(self) -> None:
        device = self.shown.idle if self.shown else ""
        await run.io_bound(_work, device or "auto")
        ui.notify(say("web.queue_started"))

    async def _go_on(self) -> None:
        """Also where no worker is left, as after a restart of the machine."""
        self._try(partial(self.queue.pause, paused=False))
        if self.shown and self.shown.idle:
            await self._start()


def _work(device: str) -> None:
    """Run in a thread, as it imports the plan, which the tab itself does not need."""
    from tehon.web.actions import work_the_queue

    work_the_queue(device)
