"""Under the toolbar: what a preset or a file has changed in the form, and the way back; and that a saved form could not
be read.

>>> bar = ReplacedBar(draft, go_to=form.go_to)
>>> bar.show()
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web.draft import Draft, Replaced
from tehon.web.values import as_text

_LONGEST = 28  # letters of a value
_MOST = 16  # settings that are listed without being asked for


class ReplacedBar:
    """The last replacement that can be taken back. `go_to` leads to a setting."""

    def __init__(self, draft: Draft, go_to: Callable[[str], None]) -> None:
        self.draft = draft
        self.go_to = go_to
        self.shown: Replaced | None = None
        with ui.element("div").classes("form-kept").props('role="status"') as self.kept:
            self.kept_label = ui.label()
            ui.button(say("web.close"), icon="check", on_click=draft.close_kept).props("flat dense no-caps")
        self.box = ui.element("div").classes("replaced").props('role="status"')
        self.show()

    def show(self) -> None:
        self.kept.set_visibility(self.draft.kept is not None)
        if self.draft.kept is not None:
            reason, place = self.draft.kept
            if isinstance(place, Problem):
                self.kept_label.text = say("web.form_unkept", reason=reason, problem=place)
            else:
                self.kept_label.text = say("web.form_kept", reason=reason, path=place)
        last = self.draft.replaced[-1] if self.draft.replaced else None
        self.box.set_visibility(last is not None)
        if last is self.shown:
            return
        self.shown = last
        self.box.clear()
        if last is not None:
            with self.box:
                self._build(last)

    def _build(self, last: Replaced) -> None:
        with ui.element("details").props("" if len(last.after) > _MOST else "open"):
            with ui.element("summary"):
                ui.label(say("web.replaced", what=last.what, count=len(last.after)))
            with ui.element("div").classes("replaced-list"):
                for name, value in last.after.items():
                    with ui.element("button").classes("to-setting").on("click", partial(self.go_to, name)):
                        ui.label(f"{say(f'label.{name}')}: {_short(last.before[name])} → {_short(value)}")
        with ui.element("div").classes("replaced-buttons"):
            ui.button(say("web.undo"), icon="undo", on_click=self.draft.undo).props("flat dense no-caps")
            ui.button(say("web.keep"), icon="check", on_click=self.draft.keep).props("flat dense no-caps")


def _short(value: Any) -> str:
    """A value in a few letters."""
    if isinstance(value, bool):
        return say("web.on") if value else say("web.off")
    text = " ".join(as_text(value).split()) or say("web.empty")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
