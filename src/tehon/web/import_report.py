"""What became of each key of another program's settings, as a dialog."""

from collections.abc import Sequence

from nicegui import ui

from tehon.messages.catalogue import say
from tehon.settings.kohya.lines import FATES, Line
from tehon.settings.kohya.report import shown
from tehon.web.naming import worded


def import_report(lines: Sequence[Line]) -> None:
    """Opens the report, key by key."""
    with ui.dialog() as dialog, ui.card().classes("report"):
        ui.label(say("web.import_report", count=len(lines))).classes("panel-title")
        with ui.element("table").classes("settings-table"):
            for fate in FATES:
                for line in lines:
                    if line.fate == fate:
                        _row(line)
        ui.button(say("web.close"), on_click=dialog.close).props("flat")
    dialog.open()


def _row(line: Line) -> None:
    with ui.element("tr").classes("" if line.fate == "carried" else "changed"):
        with ui.element("th").props('scope="row"'):
            ui.label(line.key if line.value is None else f"{line.key} = {shown(line.value)}")
        with ui.element("td"):
            ui.label(", ".join(f"{worded(name)} = {shown(value)}" for name, value in line.outcome.settings.items()))
            for remark in (*line.outcome.reasons, *line.outcome.differences):
                ui.label(worded(str(remark))).classes("small")
