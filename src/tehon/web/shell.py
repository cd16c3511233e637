"""The frame of the page: its header, and the tabs, of which one is built at once and the others when it is there."""

from collections.abc import Callable
from pathlib import Path

from nicegui import Client, app, ui
from nicegui.language import Language

from tehon.messages.catalogue import languages, say
from tehon.web.sheets import TABS, Sheets
from tehon.web.workplace import Desk, Workplace

STYLE = Path(__file__).parent / "style.css"
# The browser turns over by itself, before the server hears of it: an update from the server draws the whole page anew.
_TURN = """(name) => {
    document.querySelectorAll(".sheet").forEach((one) => one.classList.toggle("behind", one.dataset.name !== name));
    document.querySelectorAll(".turn").forEach((tab) => tab.setAttribute("aria-selected", tab.dataset.name === name));
    window.history.replaceState({}, "", name === "train" ? "/" : "/" + name);
}"""
# What is typed into a field may be saved only when it is left, as captions are.
_ANEW = "document.activeElement?.blur(); setTimeout(() => location.reload(), 300)"
_NAMES = {"en": "English", "ja": "日本語"}


def page_routes(workplace: Workplace) -> None:
    """Every tab has an address of its own; all of them give the same page with that tab in front."""
    for name in TABS:
        ui.page("/" if name == "train" else f"/{name}")(lambda name=name: _frame(workplace, name))


def of_browsers(language: str) -> Language:
    """A language as browsers and Quasar call it: in it they read aloud, break lines, and name their own parts."""
    return "ja" if language == "ja" else "en-US"


def _frame(workplace: Workplace, first: str) -> None:
    preferences = workplace.preferences
    ui.add_css(STYLE.read_text("utf8"))
    ui.colors(primary="#a93522", secondary="#2d4a6e", accent="#a93522", positive="#3c7a4b", negative="#b3261e")
    dark = ui.dark_mode(preferences.dark)
    sheets = Sheets()
    desk = Desk(workplace, lambda name: show(name))

    def show(name: str) -> None:
        sheets.look_at(name)
        ui.run_javascript(f"({_TURN})('{name}')")

    with ui.header().classes("top"):
        ui.html('<span class="seal" aria-hidden="true">手本</span>', sanitize=False)
        ui.label("tehon").classes("brand")
        with ui.element("div").classes("turns").props('role="tablist"'):
            for name in TABS:
                _tab(name, name == first, sheets.look_at)
        ui.space()
        ui.select(
            {code: _NAMES.get(code, code) for code in languages()},
            value=preferences.language,
            on_change=lambda event: _speak(workplace, str(event.value)),
        ).props(f'dense borderless options-dense aria-label="{say("web.language")}"').classes("language")
        ui.button(icon="contrast", on_click=lambda: _turn(workplace, dark)).props(
            f'flat round dense aria-label="{say("web.dark")}"'
        )
    sheets.lay(desk, first)


def _tab(name: str, selected: bool, look_at: Callable[[str], None]) -> None:
    tab = ui.element("button").classes("turn")
    tab.props(f'role="tab" aria-selected="{str(selected).lower()}" data-name="{name}"')
    tab.on("click", lambda: look_at(name), js_handler=f"() => {{ ({_TURN})('{name}'); emit() }}")
    with tab:
        ui.label(say(f"web.tab_{name}"))


def _speak(workplace: Workplace, language: str) -> None:
    """In all windows that are connected, which would else say in one language what is there, and in another what they
    build later. A window without a connection at this moment does so until it is loaded anew."""
    workplace.prefer(language=language)
    app.config.language = of_browsers(language)
    for client in Client.instances.values():
        if client.has_socket_connection:
            client.run_javascript(_ANEW)


def _turn(workplace: Workplace, mode: ui.dark_mode) -> None:
    """Dark, light, and as the system has it, in turn."""
    following = {None: True, True: False, False: None}[workplace.preferences.dark]
    mode.value = following
    workplace.prefer(dark=following)
