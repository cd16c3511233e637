"""The frame of the page: its header, and the tabs, which are built when they are first shown and then kept."""

from collections.abc import Callable
from pathlib import Path

from nicegui import ui

from tehon.messages.catalogue import languages, say
from tehon.web.data_tab import data_tab
from tehon.web.runs_tab import runs_tab
from tehon.web.train import train_tab
from tehon.web.workplace import Desk, Workplace

STYLE = Path(__file__).parent / "style.css"
TABS: dict[str, Callable[[Desk], None]] = {"train": train_tab, "data": data_tab, "runs": runs_tab}
_NAMES = {"en": "English", "ja": "日本語"}


def page_routes(workplace: Workplace) -> None:
    """Every tab has an address of its own; all of them give the same page with that tab in front."""
    for name in TABS:
        ui.page("/" if name == "train" else f"/{name}")(lambda name=name: _frame(workplace, name))


def _frame(workplace: Workplace, first: str) -> None:
    preferences = workplace.preferences
    ui.add_css(STYLE.read_text("utf8"))
    ui.colors(primary="#a93522", secondary="#2d4a6e", accent="#a93522", positive="#3c7a4b", negative="#b3261e")
    dark = ui.dark_mode(preferences.dark)
    built: set[str] = set()
    panels: dict[str, ui.tab_panel] = {}
    desk = Desk(workplace, lambda name: show(name))

    def show(name: str) -> None:
        if name not in panels:  # the frame itself is not built yet
            return
        if name not in built:
            built.add(name)
            with panels[name]:
                TABS[name](desk)
        if tabs.value != name:
            tabs.value = name
        ui.navigate.history.replace("/" if name == "train" else f"/{name}")

    with ui.header().classes("top"):
        ui.html('<span class="seal" aria-hidden="true">手本</span>', sanitize=False)
        ui.label("tehon").classes("brand")
        with ui.tabs(on_change=lambda event: show(str(event.value))).classes("tabs") as tabs:
            for name in TABS:
                ui.tab(name, say(f"web.tab_{name}"))
        ui.space()
        ui.select(
            {code: _NAMES.get(code, code) for code in languages()},
            value=preferences.language,
            on_change=lambda event: _speak(workplace, str(event.value)),
        ).props(f'dense borderless options-dense aria-label="{say("web.language")}"').classes("language")
        ui.button(icon="contrast", on_click=lambda: _turn(workplace, dark)).props(
            f'flat round dense aria-label="{say("web.dark")}"'
        )
    with ui.tab_panels(tabs, value=first, animated=False, keep_alive=True).classes("panels"):
        panels |= {name: ui.tab_panel(name) for name in TABS}
    show(first)


def _speak(workplace: Workplace, language: str) -> None:
    workplace.prefer(language=language)
    ui.navigate.reload()


def _turn(workplace: Workplace, mode: ui.dark_mode) -> None:
    """Dark, light, and as the system has it, in turn."""
    following = {None: True, True: False, False: None}[workplace.preferences.dark]
    workplace.prefer(dark=following)
    mode.value = following
