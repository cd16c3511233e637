"""A dialog to choose a file or folder of the machine that the server runs on, so that it works from afar as well."""

import string
import sys
from collections.abc import Collection
from pathlib import Path

from nicegui import ui

from tehon.messages.catalogue import say

_MOST = 500  # entries shown of a folder


async def pick(start: str, *, folders: bool, files: Collection[str] | None) -> str:
    """The path chosen, or '' when the dialog is closed. `files` are the endings that may be chosen; with `folders`, or
    for a model, which may be either, the folder at hand can be chosen."""
    return await _Picker(_nearest(start), folders, tuple(files or ())).dialog or ""


class _Picker:
    def __init__(self, folder: Path, folders: bool, files: tuple[str, ...]) -> None:
        self.folder = folder
        self.folders = folders or ".safetensors" in files
        self.files = files
        with ui.dialog() as self.dialog, ui.card().classes("picker"):
            self.path = ui.input(say("web.path"), on_change=None).props("outlined dense").classes("wide")
            self.path.on("keydown.enter", lambda: self._open(Path(self.path.value or "")))
            self.entries = ui.list().props("dense separator").classes("picker-entries")
            with ui.row().classes("dialog-buttons"):
                ui.button(say("web.cancel"), on_click=lambda: self.dialog.submit("")).props("flat")
                if self.folders:
                    ui.button(say("web.this_folder"), on_click=lambda: self.dialog.submit(str(self.folder)))
        self._open(folder)
        self.dialog.open()

    def _open(self, folder: Path) -> None:
        if folder.is_file():
            self.dialog.submit(str(folder))
            return
        try:
            inside = sorted(folder.iterdir(), key=lambda path: (not path.is_dir(), path.name.lower()))
        except OSError as error:
            ui.notify(say("web.not_opened", path=folder, reason=error.strerror or error), type="warning")
            return
        self.folder = folder
        self.path.value = str(folder)
        shown = [
            path
            for path in inside
            if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() in self.files)
        ]
        self.entries.clear()
        with self.entries:
            for path in _above(folder):
                self._entry(path, "arrow_upward", str(path))
            for path in shown[:_MOST]:
                self._entry(path, "folder" if path.is_dir() else "description", path.name)
            if len(shown) > _MOST:
                ui.item(say("web.more_entries", count=len(shown) - _MOST))

    def _entry(self, path: Path, icon: str, text: str) -> None:
        with ui.item(on_click=lambda: self._open(path)).props("tabindex=0"):
            with ui.item_section().props("avatar"):
                ui.icon(icon)
            with ui.item_section():
                ui.item_label(text)


def _above(folder: Path) -> list[Path]:
    """Where one may go up to: the parent, or on Windows the other drives."""
    if folder.parent != folder:
        return [folder.parent]
    if sys.platform != "win32":
        return []
    return [drive for letter in string.ascii_uppercase if (drive := Path(f"{letter}:\\")).exists() and drive != folder]


def _nearest(text: str) -> Path:
    """The folder that a path is in or nearest to; the current one for an empty path."""
    path = Path(text).expanduser().absolute() if text else Path.cwd()
    while not path.is_dir() and path.parent != path:
        path = path.parent
    return path
