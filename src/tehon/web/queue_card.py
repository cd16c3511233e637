"""The queue on the tab Runs: jobs in their order, to be moved, removed, tried again, and started."""

from collections.abc import Callable

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.runs.queue import ENDED, WAITING, Job, Queue
from tehon.web.complaint import complain


class QueueCard:
    """Shown where there are jobs."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.shown: list[Job] | None = None
        self.box = ui.element("div").classes("panel queue")
        self.box.set_visibility(False)

    def refresh(self) -> None:
        """Reads the queue again, and draws it where it has changed."""
        try:
            jobs = [job for job in self.queue.jobs() if job.state != ENDED]
        except Problem as problem:  # said in its place, as this is asked every few seconds
            self.shown = None
            self.box.clear()
            self.box.set_visibility(True)
            with self.box:
                ui.label(str(problem)).classes("mark problem")
            return
        if jobs == self.shown:
            return
        self.shown = jobs
        self.box.set_visibility(bool(jobs))
        self.box.clear()
        with self.box:
            with ui.element("div").classes("panel-head"):
                ui.label(say("web.queue")).classes("panel-title")
                ui.button(say("web.queue_start"), on_click=self._start).props("dense outline no-caps")
            waiting = [job for job in jobs if job.state == WAITING]
            for job in jobs:
                self._row(job, waiting)

    def _row(self, job: Job, waiting: list[Job]) -> None:
        with ui.element("div").classes("queue-row"):
            ui.label(f"{job.number}. {job.name}").classes("run-name")
            if job.state != WAITING:
                ui.label(say("web.queue_taken")).classes("small")
                return
            place = waiting.index(job) + 1
            self._tool("arrow_upward", say("web.up"), lambda: self.queue.move(job.number, max(1, place - 1)))
            self._tool("arrow_downward", say("web.down"), lambda: self.queue.move(job.number, place + 1))
            self._tool("close", say("web.remove"), lambda: self.queue.remove([job.number]))

    def _tool(self, icon: str, label: str, change: Callable[[], object]) -> None:
        def work() -> None:
            try:
                change()
            except Problem as problem:
                complain(problem)
            self.refresh()

        ui.button(icon=icon, on_click=work).props(f'flat dense round size=sm aria-label="{label}"')

    async def _start(self) -> None:
        await run.io_bound(_work)
        ui.notify(say("web.queue_started"))


def _work() -> None:
    """Run in a thread, as it imports the plan, which the tab itself does not need."""
    from tehon.web.actions import work_the_queue

    work_the_queue()
