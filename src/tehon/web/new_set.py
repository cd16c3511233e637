"""A dialog that makes a picture folder in kohya's layout and takes pictures into it."""

import io
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import events, ui
from PIL import Image

from tehon.catalog.model import expanded
from tehon.data.plan.entries import EXTENSIONS
from tehon.disk import write_whole
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web.complaint import complain, refuse_upload
from tehon.web.picker import pick

_LARGEST = 50_000_000  # bytes of a picture
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".txt", ".caption")
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f]')


def new_set(made: Callable[[str], Awaitable[None]]) -> None:
    """Opens the dialog; `made` is told the parent folder when pictures are there."""
    with ui.dialog() as dialog, ui.card().classes("picker"):
        ui.label(say("web.new_set")).classes("panel-title")
        parent = ui.input(say("web.parent"), value=str(Path.home() / "tehon" / "pictures")).props("outlined dense")
        parent.classes("wide")

        async def browse() -> None:
            parent.value = await pick(parent.value or "", folders=True, files=None, pictures=True) or parent.value

        with parent.add_slot("append"):
            ui.button(icon="folder_open", on_click=browse).props(f'flat dense round aria-label="{say("web.browse")}"')
        words = ui.input(say("web.trigger"), value="mycat").props("outlined dense").classes("wide")
        repeats = ui.number(say("label.data.repeats"), value=10, min=1, format="%d").props("outlined dense")
        taken: list[str] = []

        async def take(event: events.UploadEventArguments) -> None:
            try:
                file = take_picture(
                    expanded(parent.value or ""),
                    int(repeats.value or 1),
                    words.value or "",
                    event.file.name,
                    await event.file.read(),
                )
            except Problem as problem:
                complain(problem)
            else:
                taken.append(file.name)

        async def finish() -> None:
            dialog.close()
            if taken:
                await made(parent.value or "")

        ui.upload(
            label=say("web.upload"),
            multiple=True,
            auto_upload=True,
            max_file_size=_LARGEST,
            on_upload=take,
            on_rejected=lambda: refuse_upload(_ENDINGS, _LARGEST),
        ).props(f'accept="{",".join(_ENDINGS)}"').classes("wide")
        with ui.row().classes("dialog-buttons"):
            ui.button(say("web.done"), on_click=finish)
    dialog.open()


def take_picture(parent: Path, repeats: int, words: str, name: str, content: bytes) -> Path:
    """Writes an uploaded picture or caption into `parent/N_words`. A Problem when the name could lead elsewhere, when
    it is no picture, or when a file of that name is there."""
    words, name = words.strip(), Path(name.replace("\\", "/")).name
    if not words or _FORBIDDEN.search(words) or words.startswith("."):
        raise Problem("upload_words", words=words)
    suffix = Path(name).suffix.lower()
    if _FORBIDDEN.search(name) or name.startswith(".") or suffix not in {*EXTENSIONS, ".txt", ".caption"}:
        raise Problem("upload_name", name=name)
    if len(content) > _LARGEST:
        raise Problem("upload_large", name=name, limit=_LARGEST // 1_000_000)
    _check(name, suffix, content)
    folder = parent / f"{repeats}_{words}"
    file = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem("file_unwritable", field="data.folder", path=folder, reason=error.strerror or error) from None
    if file.exists():
        raise Problem("upload_there", path=file)
    write_whole(file, content)
    return file


def _check(name: str, suffix: str, content: bytes) -> None:
    try:
        if suffix in EXTENSIONS:
            with Image.open(io.BytesIO(content)) as picture:
                picture.verify()
        else:
            content.decode("utf8")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise Problem("upload_broken", name=name) from None
