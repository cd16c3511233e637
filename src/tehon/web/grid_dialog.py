"""A dialog that draws a run's checkpoints at several strengths, and shows the sheet."""

import time

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory
from tehon.settings.files import read_toml
from tehon.web.actions import draw_grid
from tehon.web.workplace import Workplace

_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25)


def has_prompts(directory: RunDirectory) -> bool:
    """Whether a run has sample prompts, with which a grid can be drawn."""
    from tehon.planning.prompts import prompt_lines  # which the tab itself does not need

    try:
        samples = read_toml(directory.settings).get("samples", {})
        return bool(prompt_lines(samples.get("prompts", "")) or samples.get("prompts_file"))
    except (Problem, AttributeError):  # changed by hand to something else: drawing says what is wrong with it
        return True


def grid_dialog(workplace: Workplace, directory: RunDirectory) -> None:
    """Opens it for a run."""
    with ui.dialog().props("persistent") as dialog, ui.card().classes("picker"):
        ui.label(say("web.grid")).classes("panel-title")
        own = has_prompts(directory)
        prompt = ui.input(say("web.grid_prompt") if own else say("web.grid_prompt_needed"))
        prompt.props("outlined dense").classes("wide")
        strengths = ui.select(list(_STRENGTHS), multiple=True, value=[0.5, 0.75, 1.0], label=say("web.strengths"))
        strengths.props("outlined dense use-chips").classes("wide")
        said = ui.label("").classes("small").props('aria-live="polite"')

        async def draw() -> None:
            if not strengths.value:
                said.text = say("web.grid_nothing")
                return
            if not own and not (prompt.value or "").strip():
                said.text = say("web.grid_no_prompt")
                return
            out = directory.path / "grid" / time.strftime("%Y%m%d-%H%M%S")
            process = draw_grid(directory, prompt.value or "", sorted(strengths.value), out)
            button.disable()
            said.text = say("web.grid_drawing")
            code = await run.io_bound(process.wait)
            button.enable()
            if code:
                said.text = (out / "log.txt").read_text("utf8", "replace")[-600:]
                return
            dialog.close()
            ui.navigate.to(workplace.page((out / "grid.html").read_text("utf8")), new_tab=True)

        with ui.row().classes("dialog-buttons"):
            ui.button(say("web.close"), on_click=dialog.close).props("flat")
            button = ui.button(say("web.grid_draw"), on_click=draw)
    dialog.open()
