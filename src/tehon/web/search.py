"""The search box above the form."""

from collections.abc import Callable
from functools import cache

from nicegui import ui

from tehon.messages.catalogue import language, say
from tehon.settings.fields import fields
from tehon.web.placing import GROUPS

ADDRESS = "/words"


class Filter(ui.element, component="search.js"):
    """Hides what a search does not find, in the browser, which asks for `places()` at `ADDRESS`: that is as long as all
    the rest of the page, and not needed to show it."""

    def __init__(self) -> None:
        super().__init__()
        self.props["address"] = ADDRESS
        self.props["none"] = say("web.search_none")


def search_box(on_find: Callable[[set[str]], None]) -> None:
    """Builds the box in the element at hand. `on_find` is told the names of the settings found, after the browser has
    hidden the others; with no words nothing is looked for."""

    def find(text: str) -> None:
        words = text.lower().split()
        if words:
            on_find({name for name, (_, all_of_it) in places().items() if all(word in all_of_it for word in words)})

    left = Filter()
    box = ui.input(placeholder=say("web.search"), on_change=lambda event: find(event.value or ""))
    box.props(f'outlined dense clearable debounce=60 aria-label="{say("web.search")}"').classes("search")
    box.on("update:model-value", js_handler=f"(text) => getElement({left.id}).search(text)")
    with box.add_slot("prepend"):
        ui.icon("search")


def places() -> dict[str, tuple[str, str]]:
    """{setting: (its card, all words that it is found by, in small letters)} in the language to speak."""
    return _places(language())


@cache
def _places(_: str) -> dict[str, tuple[str, str]]:
    texts = {field.name: f"{field.name} {field.label} {field.help}".lower() for field in fields()}
    return {name: (group.name, texts[name]) for group in GROUPS for name in group.all}
