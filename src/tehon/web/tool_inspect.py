"""Looking into a LoRA on the page: facts, who reads it, the size of its change by block, metadata, settings back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web import charts
from tehon.web.tool_fields import LORA, Said, file_word, path_field
from tehon.web.tool_process import ask_tool
from tehon.web.workplace import Desk

if TYPE_CHECKING:
    from tehon.settings.kohya.carry import Import

_LONGEST = 400  # signs of a value of the metadata


def inspect_panel(desk: Desk) -> None:
    """Builds the tool in the element at hand."""
    file = path_field("LoRA", LORA)
    with ui.row().classes("tool-run"):
        look = ui.button(say("web.tool_look"), icon="search").props("unelevated no-caps")
        back = ui.button(say("web.tool_settings_back"), icon="settings_backup_restore").props("outline no-caps")
        spinner = ui.spinner(size="sm")
    spinner.visible = False
    said = Said()
    place = ui.element("div").classes("wide tool-found").props('aria-live="polite"')

    def is_named() -> bool:
        """Whether there is a file to look at; else it is asked for."""
        said.nothing() if file.value else said.wrong(say("web.needed", name="LoRA"))
        return bool(file.value)

    async def show() -> None:
        place.clear()
        if not is_named():
            return
        look.disable()
        spinner.visible = True
        answer = await run.io_bound(ask_tool, "inspect", file_word(file))
        spinner.visible = False
        look.enable()
        if answer is not None and answer.data is None:
            said.wrong(answer.said)
        elif answer is not None and answer.data is not None:
            with place:
                _found(answer.data)

    async def take() -> None:
        if not is_named():
            return
        try:
            found = await run.io_bound(_brought, Path(file_word(file)))
        except Problem as problem:
            said.wrong(str(problem))
            return
        if found is not None:
            from tehon.web.import_report import import_report

            desk.take_settings(found.tree, Path(file_word(file)).name)
            import_report(found.lines)

    look.on_click(show)
    back.on_click(take)


def _brought(file: Path) -> "Import":
    """Run in a thread, as it imports hundreds of rows, which the tab itself does not need."""
    from tehon.settings.kohya.read import bring

    return bring(file)


def _found(data: dict[str, Any]) -> None:
    facts = {
        say("web.tool_kinds"): _joined(data["kinds"]),
        say("web.tool_layers"): _joined(data["modules"]),
        say("web.tool_ranks"): _joined(data["ranks"]),
        say("web.tool_alphas"): _joined(data["alphas"]),
        say("web.tool_types"): _joined(data["types"]),
        say("web.tool_readers"): ", ".join(f"{row['name']} {row['matched']}/{row['total']}" for row in data["readers"]),
        "sha256": data["hashes"]["sha256"],
        "AutoV2, AutoV3": f"{data['hashes']['autov2']}, {data['hashes']['autov3']}",
        "sshs_model_hash": data["hashes"]["sshs_model_hash"],
    }
    _table(facts)
    if data["hashes"]["hash_holds"] is False:
        ui.label(say("inspect.hash_differs", stored=data["hashes"]["stored_sshs_model_hash"])).classes("mark problem")
    if data["not_finite"]:
        told = say("inspect.not_finite", count=len(data["not_finite"]), name=data["not_finite"][0])
        ui.label(told).classes("mark problem")
    norms = {block: row["norm"] for block, row in data["norms"].items() if row["norm"] is not None}
    if norms:
        ui.label(say("inspect.norms")).classes("sub")
        ui.echart(charts.norms(norms)).classes("chart norms")
    ui.label(say("web.tool_metadata")).classes("sub")
    _table({key: value if isinstance(value, str) else json.dumps(value) for key, value in data["metadata"].items()})


def _joined(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _table(rows: dict[str, str]) -> None:
    with ui.element("table").classes("settings-table"):
        for name, value in rows.items():
            with ui.element("tr"):
                with ui.element("th").props('scope="row"'):
                    ui.label(name)
                with ui.element("td"):
                    ui.label(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
