"""One row of the form: a setting's name, its control, what is wrong with it, and its help.

>>> Row(field, draft, on_change=plan_again)
"""

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from tehon.messages.catalogue import say
from tehon.settings.fields import SettingField
from tehon.web.draft import Draft
from tehon.web.picker import pick
from tehon.web.placing import FILES, FOLDERS, LONG
from tehon.web.values import as_text, from_text

Changed = Callable[[str], None]


class Row:
    """The controls of one setting, always showing what the draft holds."""

    def __init__(self, field: SettingField, draft: Draft, on_change: Changed) -> None:
        self.field = field
        self.draft = draft
        self.on_change = on_change
        self.showing = False  # while a control is set from here, its event is not somebody's typing
        with (
            ui.element("div")
            .classes("setting")
            .props(f'data-name="{field.name}" id="set-{_id(field.name)}"') as self.box
        ):
            with ui.element("div").classes("setting-head"):
                ui.label(field.label).classes("setting-label").tooltip(field.name)
                self.reset = ui.button(icon="undo", on_click=self._reset).props(
                    f'flat dense round size=sm aria-label="{say("web.reset", name=field.label)}"'
                )
            with ui.element("div").classes("setting-control"):
                self.control = self._control()
            ui.label(field.help).classes("setting-help")
            self.trouble = ui.label("").classes("setting-trouble").props('role="alert"')
            self.trouble.set_visibility(False)
        self.show()

    def show(self) -> None:
        """Puts the draft's value into the control."""
        changed = self.draft.is_changed(self.field.name)
        value = self.draft.get(self.field.name)
        self.showing = True
        shown = value if _keeps_type(self.field) else as_text(value)
        if self.control.value != shown:
            self.control.value = shown
        self.showing = False
        self.reset.set_visibility(changed)
        self.box.classes(add="changed") if changed else self.box.classes(remove="changed")

    def complain(self, sentences: list[str]) -> None:
        """Shows what is wrong with the value, or that nothing is. The field's own name in front is left out."""
        prefix = f"{self.field.name}: "
        text = "\n".join(sentence.removeprefix(prefix) for sentence in sentences)
        if text != self.trouble.text:
            self.trouble.text = text
            self.trouble.set_visibility(bool(text))
            self.box.classes(add="wrong") if text else self.box.classes(remove="wrong")

    def _control(self) -> ValueElement[Any]:
        field, name = self.field, self.field.name
        label = f'aria-label="{field.label}"'
        if field.info.annotation is bool:
            return ui.switch(on_change=self._typed).props(label)
        if field.choices:
            options = {choice: say("web.by_model") if choice is None else str(choice) for choice in field.choices}
            return ui.select(options, on_change=self._typed).props(f"outlined dense options-dense {label}")
        if name in LONG or dict in field.inner_kinds:
            return ui.textarea(on_change=self._typed).props(f"outlined dense autogrow debounce=400 {label}")
        control = ui.input(on_change=self._typed).props(f"outlined dense debounce=400 {label}")
        control.props(f'placeholder="{_placeholder(field)}"')
        if name in FOLDERS or name in FILES:
            with control.add_slot("append"):
                ui.button(icon="folder_open", on_click=self._pick).props(
                    f'flat dense round aria-label="{say("web.browse")}"'
                )
        elif not field.is_text:
            control.classes("short")
        return control

    async def _pick(self) -> None:
        chosen = await pick(
            as_text(self.draft.get(self.field.name)),
            folders=self.field.name in FOLDERS,
            files=FILES.get(self.field.name),
        )
        if chosen:
            self.draft.set(self.field.name, chosen)
            self.show()
            self.on_change(self.field.name)

    def _typed(self, event: Any) -> None:
        if self.showing:
            return
        value = event.value if _keeps_type(self.field) else from_text(self.field, event.value or "")
        self.draft.set(self.field.name, value)
        changed = self.draft.is_changed(self.field.name)
        self.reset.set_visibility(changed)
        self.box.classes(add="changed") if changed else self.box.classes(remove="changed")
        self.on_change(self.field.name)

    def _reset(self) -> None:
        self.draft.set(self.field.name, None)
        self.show()
        self.on_change(self.field.name)


def _keeps_type(field: SettingField) -> bool:
    """Whether the control holds the value itself and not a text of it."""
    return field.info.annotation is bool or bool(field.choices)


def _placeholder(field: SettingField) -> str:
    if field.is_text or field.required:
        return ""
    return field.limits


def _id(name: str) -> str:
    return name.replace(".", "-")
