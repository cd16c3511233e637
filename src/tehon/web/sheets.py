"""The sheets of the page, one for each tab. The one in front is built at once, and as soon as it is there the others.

Building a tab imports what it needs, and sends it to a browser that then goes over the whole page; so it is not left
until somebody wants to see it. That is why a tab is made of few elements, and imports little, until it is looked at:
what it reads from the disk, and what is not seen at first, waits until then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module

from nicegui import background_tasks, run, ui

from tehon.web.workplace import Desk

FirstLook = Callable[[], Awaitable[None]]
Builder = Callable[[Desk], FirstLook]
"""Builds a tab in the element at hand, and gives what is to be done when it is looked at for the first time."""

_SOON = 0.02  # seconds from the page to the other tabs, ahead of the rest of the one in front
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
        ui.timer(_SOON, self._build_others, once=True)

    def look_at(self, name: str) -> None:
        """To be called when the browser brings a sheet to the front."""
        self._build(name)
        self.desk.front = name
        if name in self.looks and name in self.desk.on_front:
            self.desk.on_front[name]()
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

    async def _build_others(self) -> None:
        """All at once, since what is sent costs the browser the same for one as for three."""
        for name in await run.io_bound(_load) or ():
            self._build(name)


def _load() -> list[str]:
    """Run in a thread, as it imports what the tabs need; their names."""
    import_module("tehon.data.plan.index")  # of pictures, which the tab Pictures begins with
    for load in TABS.values():
        load()
    return list(TABS)
