"""One row of the form: a setting's name, its control, what is wrong with it, and its help.

>>> Row(field, draft)
"""

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from tehon.messages.catalogue import say
from tehon.settings.fields import SettingField
from tehon.web.draft import Draft
from tehon.web.naming import worded, worded_help
from tehon.web.picker import pick
from tehon.web.placing import FILES, FOLDERS, LONG
from tehon.web.values import as_text, from_text


class Setting(ui.element, component="setting.js"):
    """What stands around a control. `on_back` is called when the default is wanted again."""

    def __init__(self, field: SettingField, on_back: Callable[[], None]) -> None:
        super().__init__()
        self.props.update(
            id=f"set-{_id(field.name)}",
            name=field.name,
            label=field.label,
            help=worded_help(field.name, field.help),
            back=say("web.reset", name=field.label),
        )
        self.on("back", on_back, [])

    def tell(self, *, changed: bool | None = None, trouble: str | None = None) -> None:
        """Shows that the value is not the default, or what is wrong with it."""
        if changed is not None and changed != self.props.get("changed", False):
            self.props["changed"] = changed
        if trouble is not None and trouble != self.props.get("trouble", ""):
            self.props["trouble"] = trouble


class Row:
    """The controls of one setting, always showing what the draft holds."""

    def __init__(self, field: SettingField, draft: Draft) -> None:
        self.field = field
        self.draft = draft
        self.typing = False  # what is being typed stays as it is typed
        self.showing = False  # while a control is set from here, its event is not somebody's typing
        with Setting(field, self._reset) as self.setting:
            self.control = self._control()
        self.show()

    def show(self) -> None:
        """Puts the draft's value into the control."""
        value = self.draft.get(self.field.name)
        shown = value if _keeps_type(self.field) else as_text(value)
        if self.control.value != shown and not self.typing:
            self.showing = True
            self.control.value = shown
            self.showing = False
        self._mark()

    def complain(self, sentences: list[str]) -> None:
        """Shows what is wrong with the value, or that nothing is. The field's own name in front is left out."""
        prefix = f"{self.field.name}: "
        self.setting.tell(trouble="\n".join(worded(sentence.removeprefix(prefix)) for sentence in sentences))

    def _mark(self) -> None:
        self.setting.tell(changed=self.draft.is_changed(self.field.name))

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
            pictures=self.field.name in FOLDERS and self.field.name.startswith("data."),
        )
        if chosen:
            self.draft.set(self.field.name, chosen)

    def _typed(self, event: Any) -> None:
        if self.showing:
            return
        value = event.value if _keeps_type(self.field) else from_text(self.field, event.value or "")
        self.typing = True
        try:
            self.draft.set(self.field.name, value)
        finally:
            self.typing = False

    def _reset(self) -> None:
        self.draft.set(self.field.name, None)


def _keeps_type(field: SettingField) -> bool:
    """Whether the control holds the value itself and not a text of it."""
    return field.info.annotation is bool or bool(field.choices)


def _placeholder(field: SettingField) -> str:
    if field.is_text or field.required:
        return ""
    return field.limits


def _id(name: str) -> str:
    return name.replace(".", "-")
