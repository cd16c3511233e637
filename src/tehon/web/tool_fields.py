"""The fields of the tools' forms, each of which knows the words that it comes to on the command line."""

from collections.abc import Collection, Sequence
from typing import Any

from nicegui import ui

from tehon.catalog.model import expanded
from tehon.messages.catalogue import say
from tehon.web.picker import pick

LORA = (".safetensors",)
MODEL = (".safetensors", ".ckpt")


def path_field(label: str, files: Collection[str], *, folders: bool = False) -> ui.input:
    """A path to type or to choose; `folders` where a folder will do."""
    field = ui.input(label).props("outlined dense").classes("wide")

    async def browse() -> None:
        if chosen := await pick(field.value or "", folders=folders, files=files):
            field.value = chosen

    with field.add_slot("append"):
        ui.button(icon="folder_open", on_click=browse).props(
            f'flat dense round aria-label="{say("web.browse")}: {label}"'
        )
    return field


def file_word(field: ui.input) -> str:
    """A path as a word that no command takes for an option; "" when nothing was typed."""
    text = str(field.value or "").strip()
    return str(expanded(text).absolute()) if text else ""


def model_word(field: ui.input) -> str:
    """A path, or a name on the hub."""
    text = str(field.value or "").strip()
    return file_word(field) if text.startswith("-") or expanded(text).exists() else text


def number_field(label: str, value: float | None, *, step: float = 1) -> ui.number:
    return ui.number(label, value=value, step=step).props("outlined dense").classes("number")


def whole(option: str, field: ui.number) -> list[str]:
    """An option with a whole number; nothing for an empty field."""
    return [] if field.value is None else [f"{option}={int(field.value)}"]


def choice(label: str, options: Sequence[str] | dict[str, str], value: str) -> Any:
    names = options if isinstance(options, dict) else {name: name for name in options}
    return ui.select(names, value=value, label=label).props("outlined dense").classes("number")


def precision_field() -> Any:
    """The numbers of the result."""
    return choice(
        say("web.tool_precision"), {"": say("web.tool_as_source"), "float": "float", "fp16": "fp16", "bf16": "bf16"}, ""
    )


def precision_words(field: Any) -> list[str]:
    return [f"--precision={field.value}"] if field.value else []


class Said:
    """Under a tool's button: what came of it, or what is wrong, as sentences that stay until the next try."""

    def __init__(self) -> None:
        self.label = ui.label("").classes("tool-said").props('aria-live="polite"')

    def nothing(self) -> None:
        self._say("", "")

    def wrong(self, sentences: str) -> None:
        self._say(sentences, "mark problem")

    def done(self, sentence: str) -> None:
        self._say(sentence, "mark done")

    def _say(self, text: str, kind: str) -> None:
        self.label.classes(replace=f"tool-said {kind}")
        self.label.text = text
