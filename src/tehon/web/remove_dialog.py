"""A dialog that says what goes with a run's directory, and removes it."""

from nicegui import run, ui

from tehon.disk import sized
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory
from tehon.runs.removal import contents, remove_run
from tehon.web.complaint import complain


async def remove_dialog(directory: RunDirectory) -> None:
    """Opens it for a run."""
    found = await run.io_bound(contents, directory)
    assert found is not None
    path, facts = directory.path, {"files": found.files, "size": sized(found.bytes), "loras": found.loras}
    with ui.dialog() as dialog, ui.card().classes("picker"):
        ui.label(say("web.remove_run")).classes("panel-title")
        ui.label(say("web.remove_run_what", path=path, **facts))

        async def remove() -> None:
            dialog.close()
            try:
                await run.io_bound(remove_run, directory)
            except Problem as problem:
                complain(problem)
            else:
                ui.notify(say("web.remove_run_done", name=path.name))

        with ui.row().classes("dialog-buttons"):
            ui.button(say("web.cancel"), on_click=dialog.close).props("flat")
            ui.button(say("web.remove_run"), on_click=remove).props("color=negative")
    dialog.open()
