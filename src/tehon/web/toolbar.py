"""What stands above the form: search, presets, loading and saving."""

from typing import TYPE_CHECKING

from nicegui import events, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web.presets import PRESETS

if TYPE_CHECKING:
    from tehon.web.train import Form


def toolbar(form: "Form") -> None:
    """Builds the bar for a form."""
    with ui.element("div").classes("toolbar"):
        search = ui.input(placeholder=say("web.search"), on_change=lambda event: form.search(event.value or ""))
        search.props(f'outlined dense clearable debounce=60 aria-label="{say("web.search")}"').classes("search")
        with search.add_slot("prepend"):
            ui.icon("search")
        with ui.dropdown_button(say("web.presets"), auto_close=True).props("outline no-caps"):
            for name in PRESETS:
                with ui.item(on_click=lambda name=name: _apply(form, name)), ui.item_section():
                    ui.item_label(say(f"preset.{name}"))
                    ui.item_label(say(f"preset.{name}_help")).props("caption")
        ui.button(say("web.load"), icon="file_open", on_click=lambda: _load(form)).props("outline no-caps")
        ui.button(say("web.save"), icon="save_alt", on_click=lambda: _save(form)).props("outline no-caps")
        ui.switch(say("web.help"), value=form.workplace.preferences.help, on_change=lambda e: _help(form, e.value))


def _apply(form: "Form", name: str) -> None:
    form.draft.apply(PRESETS[name])
    form.refresh()
    ui.notify(say("web.preset_applied", name=say(f"preset.{name}")))


def _help(form: "Form", wanted: bool) -> None:
    form.workplace.prefer(help=wanted)
    form.show_help(wanted)


def _save(form: "Form") -> None:
    name = f"{form.draft.get('output.name')}.toml"
    ui.download.content(form.draft.toml(), name, "application/toml")


def _load(form: "Form") -> None:
    """A dialog that takes a settings file."""
    with ui.dialog() as dialog, ui.card():
        ui.label(say("web.load_what"))

        async def take(event: events.UploadEventArguments) -> None:
            try:
                strangers = load(form, await event.file.text())
            except (Problem, UnicodeDecodeError) as problem:
                ui.notify(str(problem), type="negative", multi_line=True)
                return
            dialog.close()
            form.refresh()
            said = say("web.loaded", name=event.file.name)
            if strangers:
                said += " " + say("web.not_known", names=", ".join(strangers))
            ui.notify(said, type="warning" if strangers else "positive", multi_line=True)

        ui.upload(on_upload=take, auto_upload=True, max_file_size=2_000_000, max_files=1).props('accept=".toml,.json"')
    dialog.open()


def load(form: "Form", text: str) -> list[str]:
    """Puts a TOML text into the form; gives the names in it that no setting has."""
    from tehon.settings.files import parse_toml

    return form.draft.replace(parse_toml(text))
