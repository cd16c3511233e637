"""A dialog to choose a file or folder of the machine that the server runs on, so that it works from afar as well."""

import asyncio
import os
import string
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from time import monotonic

from nicegui import background_tasks, run, ui

from tehon.catalog.model import expanded
from tehon.data.plan.entries import split_name
from tehon.messages.catalogue import say
from tehon.web.picture_count import count_pictures

_MOST = 500  # entries shown of a folder
_PATIENCE = 3.0  # seconds for the pictures of all folders that are shown


async def pick(start: str, *, folders: bool, files: Collection[str] | None, pictures: bool = False) -> str:
    """The path chosen, or '' when the dialog is closed. `files` are the endings that may be chosen; with `folders`, or
    for a model, which may be either, the folder at hand can be chosen; with `pictures` it is said how many lie in
    each."""
    picker = _Picker(folders, tuple(files or ()), pictures)
    await picker.open(_nearest(start))
    return await picker.dialog or ""


class _Picker:
    def __init__(self, folders: bool, files: tuple[str, ...], pictures: bool) -> None:
        self.folder = Path()
        self.folders = folders or ".safetensors" in files
        self.files = files
        self.pictures = pictures
        self.counting: asyncio.Task[None] | None = None
        with ui.dialog() as self.dialog, ui.card().classes("picker"):
            self.path = ui.input(say("web.path"), on_change=None).props("outlined dense").classes("wide")
            self.path.on("keydown.enter", lambda: self.open(Path(self.path.value or "")))
            self.entries = ui.list().props("dense separator").classes("picker-entries")
            with ui.row().classes("dialog-buttons"):
                self.here = ui.label().classes("small picker-here")
                ui.button(say("web.cancel"), on_click=lambda: self.dialog.submit("")).props("flat")
                if self.folders:
                    ui.button(say("web.this_folder"), on_click=lambda: self.dialog.submit(str(self.folder)))
        self.dialog.on("hide", self._stop_counting)
        self.dialog.open()

    async def open(self, folder: Path) -> None:
        """Shows a folder; a file is chosen."""
        try:
            found = await run.io_bound(_inside, folder, self.files)
        except NotADirectoryError:
            self.dialog.submit(str(folder))
            return
        except OSError as error:
            ui.notify(say("web.not_opened", path=folder, reason=error.strerror or error), type="warning")
            return
        rows = found or []
        self.folder = folder
        self.path.value = str(folder)
        self._stop_counting()
        counts: dict[Path, ui.label] = {folder: self.here}
        self.here.text = ""
        self.entries.clear()
        with self.entries:
            for path in _above(folder):
                self._entry(path, "arrow_upward", str(path))
            for path, is_folder in rows[:_MOST]:
                counts |= {path: self._entry(path, "folder" if is_folder else "description", path.name)}
            if len(rows) > _MOST:
                ui.item(say("web.more_entries", count=len(rows) - _MOST))
        if self.pictures:
            self.counting = background_tasks.create(self._count(counts), name="count pictures")

    def _entry(self, path: Path, icon: str, text: str) -> ui.label:
        """Builds a row; gives the place for what is said of it later."""
        with ui.item(on_click=partial(self.open, path)).props("tabindex=0"):
            with ui.item_section().props("avatar"):
                ui.icon(icon)
            with ui.item_section():
                ui.item_label(text)
            with ui.item_section().props("side"):
                return ui.label().classes("small")

    async def _count(self, labels: Mapping[Path, ui.label]) -> None:
        """Says of each folder how many pictures are in it, one after the other, as long as there is patience."""
        until = monotonic() + _PATIENCE
        for path, label in labels.items():
            counted = await run.io_bound(count_pictures, path, until)
            if counted is None or label.is_deleted or monotonic() > until:
                return
            label.text = str(counted) or (say("web.pictures_none") if label is self.here and counted.whole else "")

    def _stop_counting(self) -> None:
        if self.counting is not None:
            self.counting.cancel()


def _inside(folder: Path, endings: tuple[str, ...]) -> list[tuple[Path, bool]]:
    """What can be chosen in a folder, sorted, and whether it is a folder itself, which stand first. Run in a thread."""
    with os.scandir(folder) as entries:
        shown = [one for one in entries if not one.name.startswith(".")]
        found = [
            (folder / one.name, is_folder)
            for one in shown
            if (is_folder := one.is_dir()) or split_name(one.name)[1] in endings
        ]
    return sorted(found, key=lambda row: (not row[1], row[0].name.lower()))


def _above(folder: Path) -> list[Path]:
    """Where one may go up to: the parent, or on Windows the other drives."""
    if folder.parent != folder:
        return [folder.parent]
    if sys.platform != "win32":
        return []
    return [drive for letter in string.ascii_uppercase if (drive := Path(f"{letter}:\\")).exists() and drive != folder]


def _nearest(text: str) -> Path:
    """The folder that a path is in or nearest to; the current one for an empty path."""
    path = expanded(text).absolute() if text else Path.cwd()
    while not path.is_dir() and path.parent != path:
        path = path.parent
    return path
