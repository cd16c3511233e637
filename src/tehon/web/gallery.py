"""The grid of pictures on the tab Pictures."""

from collections.abc import Callable
from typing import Any

from nicegui import ui


class Gallery(ui.element, component="gallery.js"):
    """`items` have id, name, thumb (an address), size, caption, and, where there are such, crop (left, top, width,
    height as shares), mark, trouble, and group, each of which begins a row. `on_choose` is told the ids of those
    chosen."""

    def __init__(self, label: str, on_choose: Callable[[list[str]], None]) -> None:
        super().__init__()
        self.props["items"] = ()
        self.props["label"] = label
        self.on("choose", lambda event: on_choose(_texts(event.args)))

    def show(self, items: list[dict[str, Any]]) -> None:
        """Sends all items, where they are others than before."""
        if (new := tuple(items)) != self.props["items"]:
            self.props["items"] = new  # a tuple, because each dictionary in a list would be watched for changes

    def select(self, ids: list[str]) -> None:
        """Marks these as chosen, without sending the items again."""
        self.run_method("pick", ids)


def _texts(found: Any) -> list[str]:
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
