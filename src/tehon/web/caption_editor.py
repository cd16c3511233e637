"""Beside the gallery: the chosen picture large with what is learned of it, and its caption; or tools for many."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from nicegui import background_tasks, ui

from tehon.captions import tags
from tehon.messages.catalogue import say
from tehon.web.album import Entry, Reading

if TYPE_CHECKING:
    from tehon.web.data_tab import DataTab


class CaptionEditor:
    """The panel of one tab."""

    def __init__(self, tab: "DataTab") -> None:
        self.tab = tab
        self.epoch = 1
        self.typing: tuple[Entry, ui.textarea] | None = None
        self.told = ""  # the caption that is in the file, or on its way there
        self.box = ui.element("div").classes("panel-body")
        self.box.client.on_disconnect(self.save)

    def show(self) -> None:
        """Shows what fits the pictures that are chosen now. A caption that is being typed stays while its picture does,
        and is saved when another is chosen: this is heard of before the field's loss of the focus."""
        if typed := self._typed():
            if self.tab.chosen == [typed[0].token]:
                return
            background_tasks.create(self._write(*typed), name="save a caption")
        self.typing = None
        self.box.clear()
        tokens = set(self.tab.chosen)
        chosen = [entry for entry in self.tab.album.entries if entry.token in tokens]
        with self.box:
            if len(chosen) == 1:
                self._one(chosen[0])
            else:
                self._many()
            if self.tab.album.changes:
                ui.button(say("web.undo"), icon="undo", on_click=self._undo).props("flat no-caps")

    def _one(self, entry: Entry) -> None:
        ui.label(entry.path.name).classes("panel-title")
        self._picture(entry, entry.crop)
        facts = say(
            "web.facts", size="{}×{}".format(*entry.size), bucket="{}×{}".format(*entry.bucket), n=entry.repeats
        )
        ui.label(facts).classes("small")
        if entry.caption_file is None:
            ui.label(entry.caption)
            ui.label(say("web.from_metadata")).classes("small")
        else:
            self.told = entry.caption if entry.captioned else ""
            area = ui.textarea(say("web.caption"), value=self.told).props("outlined autogrow").classes("wide")
            area.on("blur", self.save)
            self.typing = entry, area
            ui.label(say("web.saved_to", name=entry.caption_file.name)).classes("small")
        self._readings(entry)

    def _picture(self, entry: Entry, crop: tuple[float, float, float, float], *, flip: bool = False) -> None:
        left, top, width, height = (round(100 * share, 2) for share in crop)
        with ui.element("div").classes("large flipped" if flip else "large"):
            ui.element("img").props(f'src="/large/{entry.token}"').props["alt"] = entry.path.name
            frame = ui.element("div").classes("tile-crop")
            frame.style(f"left:{left}%;top:{top}%;width:{width}%;height:{height}%")

    def _readings(self, entry: Entry) -> None:
        """What the network is fed of it in one epoch."""
        number = self.tab.album.entries.index(entry)
        with ui.row().classes("fed"):
            ui.label(say("web.fed")).classes("sub")
            ui.number(value=self.epoch, min=1, format="%d", on_change=lambda event: self._turn(event.value)).props(
                f'dense outlined aria-label="{say("web.epoch")}"'
            ).classes("epoch")
        for count, reading in _counted(self.tab.album.readings(number, self.epoch - 1)):
            with ui.element("div").classes("reading"):
                self._picture(entry, reading.crop, flip=reading.flip)
                ui.label(f"{count}×  {reading.caption or say('sheet.no_caption')}")

    def _turn(self, epoch: float | None) -> None:
        self.epoch = max(1, int(epoch or 1))
        self.show()

    def _many(self) -> None:
        targets = self.tab.targets()
        if not targets:
            ui.label(say("web.edit_none")).classes("small")
            return
        ui.label(say("web.edit_many", count=len(targets))).classes("panel-title")
        new = ui.input(say("web.tags")).props("outlined dense").classes("wide")
        with ui.row():
            self._tool(say("web.tag_add_first"), lambda: partial(_add, tags.split(new.value or ""), True))
            self._tool(say("web.tag_add_last"), lambda: partial(_add, tags.split(new.value or ""), False))
            self._tool(say("web.tag_remove"), lambda: partial(_remove, tags.split(new.value or "")))
        old = ui.input(say("web.replace_what")).props("outlined dense").classes("wide")
        by = ui.input(say("web.replace_by")).props("outlined dense").classes("wide")
        with ui.row():
            self._tool(say("web.replace_tag"), lambda: partial(_replace, old.value or "", by.value or "", True))
            self._tool(say("web.replace_text"), lambda: partial(_replace, old.value or "", by.value or "", False))
            self._tool(say("web.tag_sort"), lambda: tags.sort)

    def _tool(self, label: str, edit: Callable[[], tags.Edit]) -> None:
        async def work() -> None:
            await self.tab.edited(partial(self.tab.album.edit, self.tab.targets(), edit()))

        ui.button(label, on_click=work).props("outline dense no-caps")

    async def save(self) -> None:
        """Saves the caption that is being typed, if it is another one than is in its file."""
        if typed := self._typed():
            before, self.told = self.told, typed[1]
            await self._write(*typed, refused=lambda: self._still(typed[0], before))

    def _still(self, entry: Entry, told: str) -> None:
        """A caption that can't be written goes on being typed, if its picture has not been left."""
        if self.typing is not None and self.typing[0] is entry:
            self.told = told

    def _typed(self) -> tuple[Entry, str] | None:
        """A picture and its caption that are not saved yet."""
        if self.typing is None or (text := self.typing[1].value or "") == self.told:
            return None
        return self.typing[0], text

    async def _write(self, entry: Entry, text: str, refused: Callable[[], None] = lambda: None) -> None:
        """Into the file that stands under the field, whatever the form says by now."""
        with self.box:
            await self.tab.edited(partial(self.tab.album.edit, [entry], lambda _: text), refused)

    async def _undo(self) -> None:
        await self.tab.edited(self.tab.album.undo)


def _counted(readings: list[Reading]) -> list[tuple[int, Reading]]:
    """Each different reading, and how often it comes."""
    found: dict[Reading, int] = {}
    for reading in readings:
        found[reading] = found.get(reading, 0) + 1
    return [(count, reading) for reading, count in found.items()]


def _add(new: list[str], first: bool, caption: str) -> str:
    return tags.add(new, caption, first=first)


def _remove(unwanted: list[str], caption: str) -> str:
    return tags.remove(unwanted, caption)


def _replace(old: str, new: str, whole_tags: bool, caption: str) -> str:
    return tags.replace(old, new, caption, whole_tags=whole_tags) if old else caption
