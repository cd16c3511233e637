"""The sheets of the page, one for each tab. The one in front is built at once, the others when it has been read.

Building a tab imports what it needs, and sends it to a browser that then goes over the whole page; so it is not left
until somebody wants to see it. What a tab reads from the disk waits until it is looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import background_tasks, run, ui

from tehon.web.workplace import Desk

FirstLook = Callable[[], Awaitable[None]]
Builder = Callable[[Desk], FirstLook]
"""Builds a tab in the element at hand, and gives what is to be done when it is looked at for the first time."""

_REST = 1.0  # seconds from the page to the other tabs: the first plan is there by then
_FETCHING = 5.0  # where the browser still fetches pictures or curves
_PAUSE = 0.2  # seconds between two tabs, for whoever is typing
_DRAWN = 0.05  # seconds in which the browser draws a sheet that was turned to, before more is sent


def _train() -> Builder:
    from tehon.web.train import train_tab

    return train_tab


def _data() -> Builder:
    from tehon.web.data_tab import data_tab

    return data_tab


def _runs() -> Builder:
    from tehon.web.runs_tab import runs_tab

    return runs_tab


def _tools() -> Builder:
    from tehon.web.tools_tab import tools_tab

    return tools_tab


TABS: dict[str, Callable[[], Builder]] = {"train": _train, "data": _data, "runs": _runs, "tools": _tools}
"""By name: imports what a tab needs."""


class Sheets:
    """The sheets of one page."""

    def __init__(self) -> None:
        self.sheets: dict[str, ui.element] = {}
        self.built: dict[str, FirstLook] = {}
        self.looks: dict[str, asyncio.Task[None]] = {}

    def lay(self, desk: Desk, first: str) -> None:
        """Puts the sheets into the element at hand, with one in front."""
        self.desk = desk
        for name in TABS:
            sheet = ui.element("section").classes("sheet" if name == first else "sheet behind")
            self.sheets[name] = sheet.props(f'data-name="{name}"')
        self.look_at(first)
        ui.timer(_REST, partial(self._build_others, first), once=True)

    def look_at(self, name: str) -> None:
        """To be called when the browser brings a sheet to the front."""
        self._build(name)
        if name not in self.looks:
            task = self.looks[name] = background_tasks.create(self._look(name), name=f"first look at {name}")
            self.sheets[name].client.on_delete(lambda: task.cancel())

    async def _look(self, name: str) -> None:
        sheet = self.sheets[name]
        await sheet.client.connected()
        await asyncio.sleep(_DRAWN)
        if not sheet.is_deleted:
            with sheet:
                await self.built[name]()

    def _build(self, name: str) -> None:
        if name not in self.built:
            with self.sheets[name]:
                self.built[name] = TABS[name]()(self.desk)

    async def _build_others(self, first: str) -> None:
        if not self.looks[first].done():
            await asyncio.wait([self.looks[first]])
        if first != "train":
            await asyncio.sleep(_FETCHING)
        for name, load in TABS.items():
            if name not in self.built and await run.io_bound(load) is not None:
                self._build(name)
                await asyncio.sleep(_PAUSE)
