"""The tab Train: the form on the left, what will happen on the right."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from nicegui import ui

from tehon.messages.catalogue import say
from tehon.settings.fields import fields
from tehon.web.controls import Row
from tehon.web.placing import GROUPS, Group
from tehon.web.plan_panel import PlanPanel
from tehon.web.replaced_bar import ReplacedBar
from tehon.web.toolbar import toolbar
from tehon.web.workplace import Desk

_AT_ONCE = 10  # settings: as many as a usual window shows
_SOON = 0.15  # seconds between some cards and the next; the other tabs come before the second
_ELSEWHERE = 2.0  # seconds between looks at what another server of the page has changed
_GO_TO = """setTimeout(() => {
    const row = document.getElementById("PLACE");
    row?.scrollIntoView({block: "center", behavior: "smooth"});
    row?.querySelector("input,textarea")?.focus({preventScroll: true});
}, 150)"""


def train_tab(desk: Desk) -> Callable[[], Awaitable[None]]:
    """Builds the tab in the element at hand; gives what is to be done when it is first looked at."""
    with ui.element("div").classes("train"):
        form = Form(desk)
        with ui.element("aside").classes("side"):
            panel = PlanPanel(desk, form)
    form.panel = panel
    desk.go_to = form.go_to

    async def begin() -> None:
        await asyncio.gather(form.go_on(), panel.begin())

    return begin


class Form:
    """The cards of settings. Those that are seen at first are built at once, the others when the form is looked at,
    some at a time, for whoever is typing. Folded settings are built when their card is opened, or a search looks into
    them."""

    panel: PlanPanel | None = None

    def __init__(self, desk: Desk) -> None:
        self.workplace = desk.workplace
        self.draft = desk.draft
        self.fields = {field.name: field for field in fields()}
        self.rows: dict[str, Row] = {}
        self.folds: dict[str, ui.expansion] = {}
        self.wrong: dict[str, list[str]] = {}
        self.waiting = list(GROUPS)
        with ui.element("main").classes("form") as self.box:
            self.fill_toolbar = toolbar(self)
            self.bar = ReplacedBar(self.draft, self.go_to)
            self._some_cards()
            ui.timer(_ELSEWHERE, self.draft.catch_up)
        self.show_help(self.workplace.preferences.help)
        self.draft.watchers.append(self.show)
        self.box.client.on_delete(lambda: self.draft.watchers.remove(self.show))

    def _some_cards(self) -> None:
        """Builds the next cards."""
        rows = 0
        with self.box:
            while self.waiting and rows < _AT_ONCE:
                group = self.waiting.pop(0)
                self._card(group)
                rows += len(group.basic) or 1

    async def go_on(self) -> None:
        """Builds what was not there yet."""
        self.fill_toolbar()
        while self.waiting:
            await asyncio.sleep(_SOON)
            self._some_cards()

    def _all_cards(self) -> None:
        """Builds those that still wait, for what has to find every setting."""
        with self.box:
            while self.waiting:
                self._card(self.waiting.pop(0))

    def _card(self, group: Group) -> None:
        with ui.element("section").classes("card").props(f'data-group="{group.name}"'):
            with ui.element("h2").classes("card-title"):
                ui.icon(group.icon).props('aria-hidden="true"')
                ui.label(say(f"group.{group.name}"))
            for name in group.basic:
                self._row(name)
            if group.advanced:
                more = say("web.advanced", count=len(group.advanced))
                fold = ui.expansion(more, on_value_change=lambda: self._open(group)).classes("fold").props("dense")
                self.folds[group.name] = fold
        if any(self.draft.is_changed(name) for name in group.advanced):
            self._build(group)
            self.folds[group.name].value = True

    def _open(self, group: Group) -> None:
        self._build(group)

    def _build(self, group: Group) -> None:
        if group.advanced and group.advanced[0] not in self.rows:
            with self.folds[group.name]:
                for name in group.advanced:
                    self._row(name)

    def _row(self, name: str) -> None:
        self.rows[name] = row = Row(self.fields[name], self.draft)
        row.complain(self.wrong.get(name, []))

    def show(self, names: Collection[str]) -> None:
        """Shows settings that have changed, in this window or in another; cards with folded ones open. Those that still
        wait will show theirs by themselves."""
        new = {name for name in names if self.draft.is_changed(name)}
        for group in GROUPS:
            if group not in self.waiting and new.intersection(group.advanced):
                self._build(group)
                self.folds[group.name].value = True
        for name in self.rows.keys() & set(names):
            self.rows[name].show()
        self.bar.show()
        if names and self.panel is not None:
            self.panel.again()

    def build(self, names: set[str]) -> None:
        """Builds the folded settings of the cards that have one of these."""
        self._all_cards()
        for group in GROUPS:
            if names.intersection(group.advanced):
                self._build(group)

    def complain(self, found: dict[str, list[str]]) -> None:
        """Shows each sentence under its setting, also where that is built later."""
        self.wrong = found
        for group in GROUPS:
            if group not in self.waiting and found.keys() & set(group.advanced):
                self._build(group)
        for name, row in self.rows.items():
            row.complain(found.get(name, []))

    def go_to(self, name: str) -> None:
        """Scrolls to a setting and puts the cursor there."""
        self._all_cards()
        group = next(group for group in GROUPS if name in group.all)
        self._build(group)
        if name in group.advanced:
            self.folds[group.name].value = True
        place = f"set-{name.replace('.', '-')}"
        ui.run_javascript(_GO_TO.replace("PLACE", place))

    def show_help(self, wanted: bool) -> None:
        self.box.classes(remove="no-help") if wanted else self.box.classes(add="no-help")
