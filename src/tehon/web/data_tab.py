"""The tab Pictures: thumbnails with their crops, captions to edit alone or many at once, what is wrong."""

from asyncio import Lock
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web.album import Album, Entry
from tehon.web.caption_editor import CaptionEditor
from tehon.web.complaint import complain
from tehon.web.gallery import Gallery
from tehon.web.naming import mark
from tehon.web.picker import pick
from tehon.web.workplace import Desk

_TAGS = 60  # shown as filters
_WAIT = 0.3  # seconds without a change of the form before the pictures are read again
_FOLLOWED = ("data.", "model.", "training.")  # what the pictures shown, and the readings of one, follow from


def data_tab(desk: Desk) -> Callable[[], Awaitable[None]]:
    """Builds the tab in the element at hand; gives what is to be done when it is first looked at."""
    tab = DataTab(desk)
    desk.on_front["data"] = tab.follow
    return tab.load


class DataTab:
    """What is shown follows from the filter; edits are for the chosen pictures, or for all that are shown."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.draft = desk.draft
        self.album = Album(desk.draft, desk.pictures)
        self.working = Lock()  # on the album, which is empty while it is loaded: an edit would find no picture in it
        self.chosen: list[str] = []
        self.chips: dict[str, ui.button] = {}
        self.tag = ""
        self.text = ""
        self.told: Any = desk.draft.get("data.folder")  # what the field last showed of the draft
        self.stale = False  # whether the form says something else of the pictures than when they were read
        self.turn = 0  # of the latest wait for the form to come to rest
        with ui.element("div").classes("data"):
            with ui.element("div").classes("data-main"):
                self._bar()
                self.sentences = ui.element("div").classes("sentences")
                self.tags = ui.element("div").classes("chips")
                self.gallery = Gallery(say("web.pictures_of_set"), self._choose)
            with ui.element("aside").classes("panel data-side"):
                self.editor = CaptionEditor(self)
        self.draft.watchers.append(self._changed)
        self.gallery.client.on_delete(lambda: self.draft.watchers.remove(self._changed))

    def _bar(self) -> None:
        with ui.element("div").classes("toolbar"):
            self.folder = (
                ui.input(say("label.data.folder"), value=self.told or "").props("outlined dense").classes("search")
            )
            # With the text, since of two events in the page's first moments the second can be the first to arrive.
            self.folder.on(
                "keydown.enter", lambda event: self._open(event.args), js_handler="(key) => emit(key.target.value)"
            )
            with self.folder.add_slot("append"):
                ui.button(icon="folder_open", on_click=self._browse).props(
                    f'flat dense round aria-label="{say("web.browse")}"'
                )
            filter_box = ui.input(
                placeholder=say("web.filter"), on_change=lambda event: self._filter(event.value or "")
            )
            filter_box.props(f'outlined dense clearable debounce=150 aria-label="{say("web.filter")}"').classes(
                "filter"
            )
            ui.button(say("web.new_set"), icon="create_new_folder", on_click=self._new).props("outline no-caps")
            ui.button(icon="refresh", on_click=self.load).props(f'flat round aria-label="{say("web.reload")}"')

    async def load(self) -> None:
        """Reads the folders again and shows them; at first the pictures alone, before anything is known of them."""
        self.stale = False
        if self.draft.get("data.folder") != self.told:
            await self._leave()
        if not self.album.entries and (tiles := await run.io_bound(self.album.glance)):
            self._tell_folder()
            self.gallery.show(tiles)
            self.sentences.clear()
            with self.sentences:
                ui.label(say("web.measuring")).classes("mark needed")
        async with self.working:
            await run.io_bound(self.album.load)
        self.show()

    async def _leave(self) -> None:
        """Puts away what belongs to the pictures of another folder."""
        self.chosen, self.tag = [], ""
        await self.editor.save()
        self.album.entries = []
        self.gallery.select([])

    def _changed(self, names: Collection[str]) -> None:
        """Whatever changes can put right what stands in the way of the pictures, or will do so when they are read."""
        in_the_way = self.album.trouble or self.working.locked()
        if names and (in_the_way or any(name.startswith(_FOLLOWED) for name in names)):
            self.stale = True
            self.follow()

    def follow(self) -> None:
        """Reads what has changed in the form, in this window or in another, when this tab is in front."""
        if self.stale and self.desk.front == "data":
            self.turn += 1
            with self.gallery:
                ui.timer(_WAIT, partial(self._read_stale, self.turn), once=True)

    async def _read_stale(self, turn: int) -> None:
        if self.stale and turn == self.turn:
            await self.load()

    def show(self) -> None:
        """Shows the album as it is now."""
        self._tell_folder()
        self.sentences.clear()
        with self.sentences:
            if self.album.trouble:
                for sentence in self.album.trouble.splitlines():
                    mark(sentence, "error", "problem", self.desk.show_setting)
            for sentence in self.album.sentences:
                mark(sentence, "info", "notice", self.desk.show_setting)
        self.tags.clear()
        self.chips = {}
        with self.tags:
            for tag, count in self.album.tag_counts()[:_TAGS]:
                chip = ui.button(f"{tag} {count}", on_click=partial(self._only, tag)).props("flat dense no-caps")
                self.chips[tag] = chip.classes("chip on" if tag == self.tag else "chip")
        self._show_found()

    def _tell_folder(self) -> None:
        """Puts the draft's folder into the field where it is another one, and else leaves what is being typed."""
        if (folder := self.draft.get("data.folder")) != self.told:
            self.told = self.folder.value = folder

    def _show_found(self) -> None:
        """Shows what the filter leaves now."""
        self.gallery.show([entry.as_tile() for entry in self.shown()])
        self.editor.show()

    def shown(self) -> list[Entry]:
        """The pictures that the filter leaves."""
        text = self.text.lower()
        return [
            entry
            for entry in self.album.entries
            if (not text or text in entry.caption.lower() or text in entry.path.name.lower())
            and (not self.tag or self.tag in map(str.strip, entry.caption.split(",")))
        ]

    def targets(self) -> list[Entry]:
        """What an edit is for: the chosen pictures, or all shown where none is chosen."""
        shown = self.shown()
        chosen = set(self.chosen)
        return [entry for entry in shown if entry.token in chosen] or shown

    def _choose(self, tokens: list[str]) -> None:
        self.chosen = tokens
        self.editor.show()

    def _only(self, tag: str) -> None:
        if self.tag in self.chips:
            self.chips[self.tag].classes(remove="on")
        self.tag = "" if tag == self.tag else tag
        if self.tag:
            self.chips[tag].classes(add="on")
        self._show_found()

    def _filter(self, text: str) -> None:
        self.text = text
        self._show_found()

    async def _browse(self) -> None:
        if chosen := await pick(self.draft.get("data.folder"), folders=True, files=None, pictures=True):
            await self._open(chosen)

    async def _open(self, folder: str) -> None:
        await self._leave()
        try:
            self.draft.set("data.folder", folder)
        finally:  # the form has the folder also where it can't be saved
            await self.load()

    def _new(self) -> None:
        from tehon.web.new_set import new_set  # checks pictures, and so loads PIL, which the tab itself does not need

        new_set(self._open_new)

    async def _open_new(self, parent: str) -> None:
        """A new set lies in a folder inside, whose name says repeats and words."""
        names = ("data.repeats", "data.class_words")
        try:
            self.draft.apply({name: self.draft.defaults[name] for name in names}, say("web.new_set"))
        finally:  # as above
            await self._open(parent)

    async def edited(self, change: Callable[[], int], refused: Callable[[], None] = lambda: None) -> None:
        """Runs an edit of the album and says how many captions it changed; a Problem is said too, `refused` called."""
        try:
            async with self.working:
                changed = await run.io_bound(change)
        except Problem as problem:
            refused()
            complain(problem)
        else:
            ui.notify(say("web.captions_changed", count=changed))
        self.show()
