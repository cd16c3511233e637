"""Where a file or folder is: its path with a button that copies it, and one that downloads a file."""

import json
from functools import partial
from pathlib import Path

from nicegui import ui

from tehon.messages.catalogue import say

# Quasar's way also works where the browser has no clipboard for pages, as in those that are not encrypted.
_COPY = "() => Quasar.copyToClipboard({path}).then(() => Quasar.Notify.create({said}))"


def place_line(path: Path) -> None:
    """Builds it in the element at hand."""
    with ui.element("div").classes("place"):
        ui.label(str(path)).classes("place-path")
        copy = ui.button(icon="content_copy").on(
            "click", js_handler=_COPY.format(path=json.dumps(str(path)), said=json.dumps(say("web.copied")))
        )
        copy.props(f'flat dense round size=sm aria-label="{say("web.copy_path")}"').tooltip(say("web.copy_path"))
        if path.is_file():
            download_button(path)


def download_button(file: Path) -> None:
    """For a file that the browser is to save."""
    name = say("web.download", name=file.name)
    button = ui.button(icon="download", on_click=partial(ui.download.file, file)).props("flat dense round size=sm")
    button.props["aria-label"] = name
    button.tooltip(name)
