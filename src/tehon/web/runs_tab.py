"""The tab Runs: all runs and the queue on the left, the chosen run on the right."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.runs.known import is_run, known_runs
from tehon.runs.layout import RunDirectory
from tehon.runs.status import ENDED, Status, look
from tehon.web.queue_card import QueueCard
from tehon.web.wording import progress_of, state_line
from tehon.web.workplace import Desk

if TYPE_CHECKING:
    from tehon.web.run_view import RunView

_EVERY = 2.0  # seconds between two looks
_AT_WORK = "at-work"  # beside the states of runs that have ended, a choice of the filter
# On a narrow page the run stands below the list, out of sight.
_TO_THE_RUN = """() => {
    const place = document.querySelector(".run-place");
    if (place.getBoundingClientRect().top > innerHeight / 2) place.scrollIntoView({behavior: "smooth"});
    emit();
}"""


def runs_tab(desk: Desk) -> Callable[[], Awaitable[None]]:
    """Builds the tab in the element at hand; gives what is to be done when it is first looked at."""
    tab = RunsTab(desk)
    desk.open_run = tab.open
    looks = ui.timer(_EVERY, tab.refresh, active=False)

    async def look() -> None:
        looks.activate()
        await tab.refresh()

    return look


class RunsTab:
    """What is shown is read from the run directories each time; nothing is remembered but which run is chosen."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.cards: dict[str, _Card] = {}
        self.view: RunView | None = None
        with ui.element("div").classes("runs"):
            with ui.element("aside").classes("runs-side"):
                self.queue = QueueCard()
                ui.label(say("web.tab_runs")).classes("panel-title")
                self._filter()
                self.empty = ui.label(say("web.no_runs")).classes("small")
                self.empty.set_visibility(False)  # until that is known
                self.list = (
                    ui.element("div").classes("run-list").props(f'role="list" aria-label="{say("web.tab_runs")}"')
                )
            self.place = ui.element("main").classes("run-place")

    def _filter(self) -> None:
        """By a part of the name and by the state."""
        states = {"": say("web.runs_every"), _AT_WORK: say("web.runs_at_work")}
        states |= {state: say(f"state.{state}") for state in ENDED}
        with ui.element("div").classes("run-filter") as self.filter:
            self.wanted = ui.input(say("web.runs_filter"), on_change=self._sift)
            self.wanted.props("outlined dense clearable debounce=200")
            self.state = ui.select(states, value="", label=say("web.runs_state"), on_change=self._sift)
            self.state.props("outlined dense options-dense")
        self.filter.set_visibility(False)

    def _sift(self) -> None:
        """Shows the runs that are wanted."""
        wanted = [card.sift(self.wanted.value or "", self.state.value) for card in self.cards.values()]
        self.empty.text = say("web.runs_none_match") if wanted else say("web.no_runs")
        self.empty.set_visibility(not any(wanted))

    async def refresh(self) -> None:
        """Looks at all runs again."""
        if not self.list.client.has_socket_connection:
            return
        found = await run.io_bound(_look_at_all)
        if found is None:
            return
        for path in self.cards.keys() - {str(status.run.path) for status in found}:
            self.cards.pop(path).box.delete()
        for status in reversed(found):
            path = str(status.run.path)
            if path not in self.cards:
                with self.list:
                    card = self.cards[path] = _Card(status, self.open)
                card.box.move(target_index=0)
            self.cards[path].show(status, chosen=self.view is not None and self.view.run.path == status.run.path)
        self.filter.set_visibility(len(found) > 1)
        self._sift()
        self.queue.refresh(found)
        if self.view is not None and not is_run(self.view.run.path):  # it was removed
            self.place.clear()
            self.view = None
        if self.view is None and found:
            self.open(found[0].run)
        elif self.view is not None:
            current = next((status for status in found if status.run.path == self.view.run.path), None)
            if current is not None:
                self.view.refresh(current)

    def open(self, directory: RunDirectory) -> None:
        """Shows a run."""
        from tehon.web.run_view import RunView

        self.place.clear()
        with self.place:
            self.view = RunView(self.desk, directory)
        self.view.refresh(look(directory))
        for path, card in self.cards.items():
            card.choose(path == str(directory.path))


def _look_at_all() -> list[Status]:
    """Run in a thread; imports there what shows a run, so that it is there when one is shown."""
    found = [look(directory) for directory in known_runs()]
    if found:
        import_module("tehon.web.run_view")
    return found


class _Card:
    def __init__(self, status: Status, open_run: Callable[[RunDirectory], None]) -> None:
        with ui.element("button").classes("run-card").props('role="listitem"') as self.box:
            with ui.element("div").classes("run-card-head"):
                self.dot = ui.element("span").classes("dot")
                self.name = ui.label(status.name).classes("run-name")
            self.line = ui.label("").classes("small")
            self.begun = ui.label("").classes("small")
            self.bar = ui.linear_progress(0, show_value=False, size="4px").props('aria-hidden="true"')
        self.box.on("click", lambda: open_run(status.run), js_handler=_TO_THE_RUN)
        self.status = status
        self.state = ""

    def sift(self, name: str, state: str) -> bool:
        """Shows the card if its run has this in its name and is in this state, where one is given; whether it has."""
        fits = state in ("", _AT_WORK if self.status.at_work else self.status.state)
        fits = fits and name.strip().casefold() in self.status.run.path.name.casefold()
        self.box.set_visibility(fits)
        return fits

    def show(self, status: Status, chosen: bool) -> None:
        self.status = status
        self.line.text = state_line(status)
        self.bar.value = progress_of(status)
        if status.started:
            self.begun.text = f"{datetime.fromtimestamp(status.started):%Y-%m-%d %H:%M}"
        if status.state != self.state:
            self.dot.classes(replace=f"dot {status.state}{' at-work' if status.at_work else ''}")
            self.state = status.state
        self.choose(chosen)

    def choose(self, chosen: bool) -> None:
        self.box.classes(add="chosen") if chosen else self.box.classes(remove="chosen")
