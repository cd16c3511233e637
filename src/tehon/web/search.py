"""The search box above the form."""

from collections.abc import Callable, Mapping

from nicegui import ui

from tehon.messages.catalogue import say


class Filter(ui.element, component="search.js"):
    """Hides what a search does not find, in the browser. `places` are the card and the text of each setting."""

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        super().__init__()
        self.props["places"] = places


def search_box(places: Mapping[str, tuple[str, str]], on_find: Callable[[set[str]], None]) -> None:
    """Builds the box in the element at hand. `on_find` is told the names of the settings found, after the browser has
    hidden the others; with no words nothing is looked for."""

    def find(text: str) -> None:
        words = text.lower().split()
        if words:
            on_find({name for name, (_, all_of_it) in places.items() if all(word in all_of_it for word in words)})

    left = Filter(places)
    box = ui.input(placeholder=say("web.search"), on_change=lambda event: find(event.value or ""))
    box.props(f'outlined dense clearable debounce=60 aria-label="{say("web.search")}"').classes("search")
    box.on("update:model-value", js_handler=f"(text) => getElement({left.id}).search(text)")
    with box.add_slot("prepend"):
        ui.icon("search")
