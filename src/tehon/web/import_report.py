"""What became of each key of another program's settings, as a dialog: in one line, then what needs attention first.

>>> [len(group) for group in grouped(lines).values()]
[2, 71, 86]
"""

from collections.abc import Sequence
from typing import Literal

from nicegui import ui

from tehon.messages.catalogue import say
from tehon.settings.kohya.lines import Line
from tehon.settings.kohya.report import shown
from tehon.web.naming import worded

Kind = Literal["attention", "carried", "idle"]


def import_report(lines: Sequence[Line]) -> None:
    """Opens the report, key by key."""
    groups = grouped(lines)
    heads = {
        "attention": say("web.import_attention", count=len(groups["attention"])),
        "carried": say("web.import_carried", count=len(groups["carried"])),
        "idle": say("web.import_idle", count=len(groups["idle"])),
    }
    with ui.dialog() as dialog, ui.card().classes("report"):
        ui.label(say("web.import_report", **heads)).classes("panel-title")
        for kind, group in groups.items():
            if group:
                with ui.element("details").props("" if kind == "idle" else "open").classes("report-part"):
                    with ui.element("summary"):
                        ui.label(heads[kind])
                    with ui.element("table").classes("settings-table"):
                        for line in group:
                            _row(line, kind)
        ui.button(say("web.close"), on_click=dialog.close).props("flat")
    dialog.open()


def grouped(lines: Sequence[Line]) -> dict[Kind, list[Line]]:
    """The lines by what they are to a person, those first that a program does differently."""
    found: dict[Kind, list[Line]] = {"attention": [], "carried": [], "idle": []}
    for line in sorted(lines, key=lambda line: not line.outcome.differences):
        found[_kind(line)].append(line)
    return found


def _kind(line: Line) -> Kind:
    """A key needs attention that became something else, or without which the training would be another one."""
    if line.fate == "changed" or line.outcome.blocks or line.remedied:
        return "attention"
    return "carried" if line.outcome.settings else "idle"


def _row(line: Line, kind: Kind) -> None:
    with ui.element("tr").classes("changed" if kind == "attention" else ""):
        with ui.element("th").props('scope="row"'):
            ui.label(line.key if line.value is None else f"{line.key} = {shown(line.value)}")
        with ui.element("td"):
            ui.label(", ".join(f"{worded(f'{name}:')} {shown(value)}" for name, value in line.outcome.settings.items()))
            for remark in (*line.outcome.reasons, *line.outcome.differences):
                ui.label(worded(str(remark))).classes("small")
