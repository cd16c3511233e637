"""What stands above the form: search, presets, loading and saving."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nicegui import events, run, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, Problems
from tehon.settings.fields import fields
from tehon.web.complaint import complain, refuse_upload
from tehon.web.presets import ADDITIONS, PRESETS, preset_values
from tehon.web.search import search_box

if TYPE_CHECKING:
    from tehon.settings.kohya.lines import Line
    from tehon.web.train import Form

_LARGEST = 60_000_000  # bytes; a LoRA is larger than a settings file
_ENDINGS = (".toml", ".json", ".sh", ".bat", ".ps1", ".txt", ".safetensors")
DEMO = "demo"


def toolbar(form: "Form") -> Callable[[], None]:
    """Builds the bar for a form; gives what fills its menu, of as many elements as half of what is seen at first."""
    with ui.element("div").classes("toolbar"):
        search_box(form.build)
        menu = ui.dropdown_button(say("web.presets"), auto_close=True).props("outline no-caps")
        ui.button(say("web.load"), icon="file_open", on_click=lambda: _load(form)).props("outline no-caps")
        ui.button(say("web.save"), icon="save_alt", on_click=lambda: _save(form)).props("outline no-caps")
        ui.switch(
            say("web.help"), value=form.workplace.preferences.help, on_change=lambda e: _help(form, bool(e.value))
        )

    return partial(_fill, form, menu)


def _fill(form: "Form", menu: ui.dropdown_button) -> None:
    """The presets, and what can be put on top of each."""
    additions: dict[str, ui.checkbox] = {}

    async def take(name: str) -> None:
        if name == DEMO:
            from tehon.demo.lesson import prepared  # draws, and so loads numpy, which nothing else here needs

            try:
                tree = await run.io_bound(prepared, form.workplace.folder / DEMO)
            except Problem as problem:
                complain(problem)
                return
            form.draft.replace(tree or {}, say("preset.demo"))
            form.draft.tell(["data.folder"])  # whose pictures may have been drawn anew where the form was the same
            return
        chosen = [addition for addition, box in additions.items() if box.value]
        what = " + ".join(say(f"preset.{one}") for one in (name, *chosen))
        if not form.draft.apply(preset_values(name, chosen), what):
            ui.notify(say("web.replaced_none", what=what))

    with menu:
        ui.label(say("web.presets_how")).classes("small presets-how")
        with ui.element("div").on("click", js_handler="(click) => click.stopPropagation()"):  # which would close it
            for name in ADDITIONS:
                with ui.item().props("tag=label"):
                    with ui.item_section().props("side"):
                        additions[name] = ui.checkbox().props("dense")
                    _described(name)
        ui.separator()
        for name in (*PRESETS, DEMO):
            with ui.item(on_click=partial(take, name)):
                _described(name)


def _described(name: str) -> None:
    with ui.item_section():
        ui.item_label(say(f"preset.{name}"))
        ui.item_label(say(f"preset.{name}_help")).props("caption")


def _help(form: "Form", wanted: bool) -> None:
    form.show_help(wanted)
    form.workplace.prefer(help=wanted)


def _save(form: "Form") -> None:
    name = f"{form.draft.get('output.name')}.toml"
    ui.download.content(form.draft.toml(), name, "application/toml")


def _load(form: "Form") -> None:
    """A dialog that takes a settings file."""
    with ui.dialog() as dialog, ui.card():
        ui.label(say("web.load_what"))

        async def take(event: events.UploadEventArguments) -> None:
            try:
                loaded = await run.io_bound(load, event.file.name, await event.file.read())
            except Problem as problem:
                complain(problem)
                upload.reset()  # it takes one file, and the next may be the right one
                return
            dialog.close()
            if loaded is not None:
                form.draft.replace(loaded.tree, event.file.name)
                _report(event.file.name, loaded)

        upload = (
            ui.upload(
                label=say("web.upload_here"),
                on_upload=take,
                on_rejected=lambda: refuse_upload(_ENDINGS, _LARGEST),
                auto_upload=True,
                max_file_size=_LARGEST,
                max_files=1,
            )
            .props(f'accept="{",".join(_ENDINGS)}"')
            .classes("wide")
        )
    dialog.open()


@dataclass(frozen=True)
class Loaded:
    """What a file came to. `lines` say of each foreign key what it became, `strangers` are names of no setting."""

    tree: dict[str, Any]
    lines: "list[Line]"
    strangers: list[str]


def load(name: str, content: bytes) -> Loaded:
    """Reads a settings file of ours, or imports one of another program; a Problem when it is neither."""
    from tehon.settings.files import parse_toml

    name = Path(name.replace("\\", "/")).name or "settings"
    if name.endswith(".toml"):
        tree = parse_toml(_text(name, content), name)
        sections = {field.name.partition(".")[0] for field in fields()}
        if tree and tree.keys() <= sections:
            known = {field.name for field in fields()}
            given = {f"{section}.{key}" for section, inner in tree.items() if isinstance(inner, dict) for key in inner}
            return Loaded(tree, [], sorted(given - known))
    from tehon.settings.kohya.read import bring  # hundreds of rows, which the page itself does not need

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        try:
            found = bring(file)
        except Problem as problem:
            raise Problems([_called(one, file, name) for one in problem.all]) from None
    return Loaded(found.tree, found.lines, [])


def _called(problem: Problem, file: Path, name: str) -> Problem:
    """The same with the file's name as the person knows it, not where its content lies meanwhile."""
    values = {key: name if str(value) == str(file) else value for key, value in problem.values.items()}
    return Problem(problem.key, **values)


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem("file_unreadable", path=name, reason=error.reason) from None


def _report(name: str, loaded: Loaded) -> None:
    """Says what was taken over: in a word, or key by key where another program's file was imported."""
    said = say("web.loaded", name=name)
    if loaded.strangers:
        said += " " + say("web.not_known", names=", ".join(loaded.strangers))
    if not loaded.lines:
        ui.notify(said, type="warning" if loaded.strangers else "positive", multi_line=True)
        return
    from tehon.web.import_report import import_report

    import_report(loaded.lines)
