"""One run: how far it is, its curves, samples, settings, files and log, and what can be done with it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nicegui import run, ui

from tehon.disk import sized
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.runs.inbox import ask, end_now
from tehon.runs.known import known_runs
from tehon.runs.layout import RunDirectory
from tehon.runs.status import Status
from tehon.web import actions, charts, run_reader
from tehon.web.complaint import complain
from tehon.web.gallery import Gallery
from tehon.web.grid_dialog import grid_dialog
from tehon.web.place_line import download_button, place_line
from tehon.web.remove_dialog import remove_dialog
from tehon.web.wording import mean_loss, progress_of, state_line, way_on
from tehon.web.workplace import Desk

INNER_TABS = ("curves", "samples", "settings", "files", "log")
ACTIONS = ("stop", "stop_now", "save_now", "sample_now", "resume", "edit_again")


class RunView:
    """`refresh` is called every few seconds with the run's status; only what is new is read and drawn."""

    def __init__(self, desk: Desk, directory: RunDirectory) -> None:
        self.desk = desk
        self.run = directory
        self.curves = run_reader.Curves(directory)
        self.samples: list[run_reader.Sample] = []
        self.drawn = (0, 0)
        self.state = ""
        with ui.element("div").classes("panel"):
            with ui.element("div").classes("run-head"):
                ui.label(directory.path.name).classes("run-title")
                self.buttons = ui.element("div").classes("run-buttons")
            self.line = ui.label("").props('aria-live="polite"')
            self.bar = ui.linear_progress(0, show_value=False, size="8px").props('aria-hidden="true"')
            self.reason = ui.label("").classes("mark problem")
            self.way_on = ui.label("").classes("small")
            self.lora = ui.element("div")
            for part in (self.reason, self.way_on, self.lora):
                part.set_visibility(False)
        self._tabs()

    def _tabs(self) -> None:
        """The parts of a run. Its settings, of which there are many, are put there when they are looked at."""
        with ui.tabs().classes("tabs inner").props("dense no-caps align=left") as tabs:
            for name in INNER_TABS:
                ui.tab(name, say(f"web.run_{name}"))
        panels = ui.tab_panels(tabs, value="curves", animated=False, keep_alive=True).classes("panels")
        panels.on_value_change(lambda event: self._settings() if event.value == "settings" else None)
        with panels:
            with ui.tab_panel("curves"), ui.element("div").classes("panel"):
                self.no_steps = ui.label(say("web.no_steps")).classes("small")
                self.loss = ui.echart(charts.curves({})).classes("chart loss")
                self.rates = ui.echart(charts.curves({})).classes("chart rates")
                for chart in (self.loss, self.rates):
                    chart.bind_visibility_from(self.no_steps, "visible", lambda empty: not empty)
            with ui.tab_panel("samples"):
                self.no_samples = ui.label(say("web.no_samples")).classes("small")
                self.gallery = Gallery(say("web.run_samples"), self._enlarge)
            with ui.tab_panel("settings"):
                self.settings = ui.element("div").classes("wide")
            with ui.tab_panel("files"):
                self.files = ui.element("div").classes("file-list")
            with ui.tab_panel("log"):
                self.log = ui.label("").classes("log-text").props('tabindex="0"')

    def refresh(self, status: Status) -> None:
        """Takes up what is new."""
        self.line.text = state_line(status) + (f" · {mean_loss(status)}" if status.loss is not None else "")
        self.bar.value = progress_of(status)
        for label, text in ((self.reason, status.reason or ""), (self.way_on, way_on(status))):
            if label.text != text:
                label.text = text
                label.set_visibility(bool(text))
        if status.state != self.state:
            self.state = status.state
            self._buttons(status)
            self._tell_lora(status)
            self._list_files()
        if self.curves.read():
            self._draw_curves()
            self._list_files()
        written = run_reader.version(self.run.samples)
        if written != self.drawn:
            self.drawn = written
            self.samples = found = run_reader.samples(self.run)
            self.gallery.show([run_reader.tile(one, self.desk.pictures) for one in found])
            self.no_samples.set_visibility(not found)
        text = run_reader.log_end(self.run)
        if self.log.text != text:
            self.log.text = text

    def _tell_lora(self, status: Status) -> None:
        """Where a finished run's LoRA is, and what to do with it."""
        self.lora.clear()
        self.lora.set_visibility(status.lora is not None)
        if status.lora is None:
            return
        finished = Path(status.lora)
        there = run_reader.finished_lora(self.run, finished)
        with self.lora:
            if there is not None:
                ui.label(say("web.lora_ready")).classes("sub")
                place_line(there)
            if there == finished:
                ui.label(say("web.lora_where")).classes("small")
            elif there is not None:
                ui.label(say("web.lora_moved", path=finished)).classes("small")
            else:
                ui.label(say("web.lora_gone", path=finished)).classes("small")

    def _draw_curves(self) -> None:
        thin, curves = run_reader.thinned, self.curves
        self.no_steps.set_visibility(not curves.loss)
        self.loss.options.clear()
        self.loss.options.update(charts.curves({}))
        self.loss.options["series"] = [
            charts.line(say("web.loss_raw"), thin(curves.loss), "#8886", 1),
            charts.line(say("web.loss_smooth"), thin(curves.smooth()), charts.SEAL),
            *(
                [charts.line(say("web.loss_held_out"), thin(curves.validation), charts.INDIGO)]
                * bool(curves.validation)
            ),
        ]
        self.rates.options.clear()
        self.rates.options.update(
            charts.curves({run_reader.group_label(name): thin(points) for name, points in curves.rates.items()})
        )
        self.loss.update()
        self.rates.update()

    def _buttons(self, status: Status) -> None:
        self.buttons.clear()
        with self.buttons:
            if status.at_work:
                self._button("stop", "stop", partial(ask, self.run, "stop"))
                self._button("stop_now", "dangerous", partial(end_now, self.run))
                self._button("save_now", "save", partial(ask, self.run, "save"))
                self._button("sample_now", "palette", partial(ask, self.run, "preview"))
            elif status.state != "finished":
                self._button("resume", "play_arrow", partial(actions.resume, self.run))
            self._button("edit_again", "edit", self._edit_again)
            if not status.at_work:
                ui.button(
                    say("web.grid"), icon="grid_on", on_click=lambda: grid_dialog(self.desk.workplace, self.run)
                ).props("outline dense no-caps")
            ui.button(say("web.compare"), icon="compare", on_click=self._compare).props("outline dense no-caps")
            if not status.at_work:
                ui.button(say("web.remove_run"), icon="delete", on_click=lambda: remove_dialog(self.run)).props(
                    "outline dense no-caps"
                )

    def _button(self, name: str, icon: str, action: Callable[[], object]) -> None:
        async def work() -> None:
            try:
                await run.io_bound(action) if action != self._edit_again else action()
            except (Problem, OSError) as problem:
                complain(problem)
            else:
                ui.notify(say(f"web.{name}_done"))

        ui.button(say(f"web.{name}"), icon=icon, on_click=work).props("outline dense no-caps")

    def _edit_again(self) -> None:
        """Puts the run's settings into the form."""
        self.desk.take_settings(run_reader.given_settings(self.run))

    def _compare(self) -> None:
        """A dialog to choose other runs; the comparison opens as a page of its own."""
        others = {str(one.path): one.path.name for one in known_runs() if one.path != self.run.path}
        if not others:
            ui.notify(say("web.compare_none"))
            return
        with ui.dialog() as dialog, ui.card().classes("picker"):
            ui.label(say("web.compare_with")).classes("panel-title")
            chosen = ui.select(others, multiple=True).props("outlined use-chips").classes("wide")

            async def show() -> None:
                if not chosen.value:
                    ui.notify(say("web.compare_nothing"), type="warning")
                    return
                directories = [self.run, *(RunDirectory(Path(path)) for path in chosen.value)]
                page = await run.io_bound(_comparison, directories)
                dialog.close()
                ui.navigate.to(self.desk.workplace.page(page or ""), new_tab=True)

            with ui.row().classes("dialog-buttons"):
                ui.button(say("web.cancel"), on_click=dialog.close).props("flat")
                ui.button(say("web.compare"), on_click=show)
        dialog.open()

    def _settings(self) -> None:
        """Shows the settings as they are now: a resume may have changed them."""
        self.settings.clear()
        with self.settings, ui.element("table").classes("settings-table"):
            for name, label, value, changed in run_reader.changed_settings(self.run):
                with ui.element("tr").classes("changed" if changed else ""):
                    with ui.element("th").props('scope="row"'):
                        ui.label(label).tooltip(name)
                    with ui.element("td"):
                        ui.label(value)

    def _list_files(self) -> None:
        found = run_reader.files(self.run)
        self.files.clear()
        with self.files:
            if not found:
                ui.label(say("web.no_files")).classes("small")
            else:
                place_line(self.run.weights)
            for file, size in found:
                with ui.element("div").classes("queue-row"):
                    ui.label(file.name).classes("run-name")
                    ui.label(sized(size)).classes("small")
                    download_button(file)

    def _enlarge(self, tokens: list[str]) -> None:
        """Shows the chosen samples large, beside each other."""
        by_token = {self.desk.pictures.token(one.file): one for one in self.samples}
        chosen = [(token, by_token[token]) for token in tokens[:4] if token in by_token]
        with ui.dialog() as dialog, ui.card().classes("enlarged"):
            with ui.element("div").classes("enlarged-row"):
                for token, sample in chosen:
                    with ui.element("figure"):
                        ui.element("img").props(f'src="/large/{token}"').props["alt"] = sample.prompt
                        ui.label(f"{sample.made_by} · {sample.prompt}")
            ui.button(say("web.close"), on_click=dialog.close).props("flat")
        dialog.open()


def _comparison(directories: list[RunDirectory]) -> str:
    """Run in a thread; draws, and so loads PIL, which a run's page itself does not need."""
    from tehon.reports.comparison import as_page, compare

    return as_page(compare(directories))
