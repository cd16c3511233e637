"""The tab Train: the form on the left, what will happen on the right."""

from nicegui import ui

from tehon.messages.catalogue import say
from tehon.settings.fields import fields
from tehon.web.controls import Row
from tehon.web.placing import GROUPS, Group
from tehon.web.plan_panel import PlanPanel
from tehon.web.toolbar import toolbar
from tehon.web.workplace import Desk

_GO_TO = """setTimeout(() => {
    const row = document.getElementById("PLACE");
    row?.scrollIntoView({block: "center", behavior: "smooth"});
    row?.querySelector("input,textarea")?.focus({preventScroll: true});
}, 150)"""


def train_tab(desk: Desk) -> None:
    """Builds the tab in the element at hand."""
    with ui.element("div").classes("train"):
        form = Form(desk)
        with ui.element("aside").classes("side"):
            panel = PlanPanel(desk, form)
    form.panel = panel
    desk.refresh_form = form.refresh
    panel.again()


class Form:
    """The cards of settings. Folded settings are built when their card is opened, or when a search looks into them."""

    panel: PlanPanel | None = None

    def __init__(self, desk: Desk) -> None:
        self.workplace = desk.workplace
        self.draft = desk.draft
        self.fields = {field.name: field for field in fields()}
        self.rows: dict[str, Row] = {}
        self.folds: dict[str, ui.expansion] = {}
        with ui.element("main").classes("form") as self.box:
            toolbar(self)
            for group in GROUPS:
                self._card(group)
        self.show_help(self.workplace.preferences.help)

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
        self.rows[name] = Row(self.fields[name], self.draft, self._changed)

    def _changed(self, name: str) -> None:
        if self.panel is not None:
            self.panel.again()

    def refresh(self) -> None:
        """Shows the draft again after it was replaced; cards with changed settings open."""
        for group in GROUPS:
            if any(self.draft.is_changed(name) for name in group.advanced):
                self._build(group)
                self.folds[group.name].value = True
        for row in self.rows.values():
            row.show()
        self._changed("")

    def places(self) -> dict[str, tuple[str, str]]:
        """{setting: (its card, all words that it is found by)}."""
        return {name: (group.name, self._text(name)) for group in GROUPS for name in group.all}

    def build(self, names: set[str]) -> None:
        """Builds the folded settings of the cards that have one of these."""
        for group in GROUPS:
            if names.intersection(group.advanced):
                self._build(group)

    def _text(self, name: str) -> str:
        field = self.fields[name]
        return f"{name} {field.label} {field.help}".lower()

    def complain(self, found: dict[str, list[str]]) -> None:
        """Shows each sentence under its setting."""
        for name in found:
            if name in self.fields and name not in self.rows:
                self._build(next(group for group in GROUPS if name in group.advanced))
        for name, row in self.rows.items():
            row.complain(found.get(name, []))

    def go_to(self, name: str) -> None:
        """Scrolls to a setting and puts the cursor there."""
        group = next(group for group in GROUPS if name in group.all)
        self._build(group)
        if name in group.advanced:
            self.folds[group.name].value = True
        place = f"set-{name.replace('.', '-')}"
        ui.run_javascript(_GO_TO.replace("PLACE", place))

    def show_help(self, wanted: bool) -> None:
        self.box.classes(remove="no-help") if wanted else self.box.classes(add="no-help")
