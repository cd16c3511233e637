"""The tab Tools: looking into a LoRA, its settings back into the form, and merge, resize, extract, convert."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import run, ui

from tehon.messages.catalogue import say
from tehon.web.tool_fields import (
    LORA,
    MODEL,
    Said,
    choice,
    file_word,
    model_word,
    number_field,
    path_field,
    precision_field,
    precision_words,
    whole,
)
from tehon.web.tool_inspect import inspect_panel
from tehon.web.tool_process import ask_tool
from tehon.web.workplace import Desk

Words = Callable[[], list[str]]
Needed = Callable[[], list[Any]]
_SOON = 0.1  # seconds between two tools


def tools_tab(desk: Desk) -> Callable[[], Awaitable[None]]:
    """Builds the tab in the element at hand; gives what is to be done when it is looked at for the first time."""
    return ToolsTab(desk).complete


class ToolsTab:
    """The first tool's form is built with the tab, the others when the tab is looked at, one by one, or when somebody
    turns to them: all of them together are as many elements as the rest of the page."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.places: dict[str, ui.tab_panel] = {}
        self.waiting = list(TOOLS)
        first = self.waiting[0]
        with ui.element("div").classes("tools"):
            with ui.tabs().props("vertical no-caps").classes("tools-side") as tabs:
                for name in TOOLS:
                    ui.tab(name, say(f"web.tool_{name}"))
            panels = ui.tab_panels(tabs, value=first, animated=False, keep_alive=True).classes("tools-place")
            panels.on_value_change(lambda event: self._build(str(event.value)))
            with panels:
                for name in TOOLS:
                    self.places[name] = ui.tab_panel(name)
        self._build(first)

    async def complete(self) -> None:
        """Builds what was not there yet."""
        while self.waiting:
            self._build(self.waiting[0])
            await asyncio.sleep(_SOON)

    def _build(self, name: str) -> None:
        if name in self.waiting:
            self.waiting.remove(name)
            with self.places[name]:
                ui.label(say(f"web.tool_{name}")).classes("panel-title")
                ui.label(say(f"web.tool_{name}_help")).classes("small")
                TOOLS[name](self.desk)


def _merge(desk: Desk) -> None:
    model = path_field(say("web.tool_model_or_none"), MODEL, folders=True)
    rows: list[_Lora] = []
    place = ui.element("div").classes("wide")

    def add() -> None:
        with place:
            rows.append(_Lora())

    add()
    ui.button(say("web.tool_add_lora"), icon="add", on_click=add).props("flat no-caps")
    with ui.row():
        as_lora = ui.switch(say("web.tool_as_lora"))
        rank = number_field(say("web.tool_rank_or_exact"), None)
        precision = precision_field()

    def words() -> list[str]:
        found = ["merge", model_word(model)] if model.value else ["merge"]
        for row in rows:
            found += row.words()
        into_lora = ["--as-lora"] if as_lora.value and model.value else []
        return [*found, *into_lora, *whole("--rank", rank), *precision_words(precision)]

    _result(words, lambda: [rows[0].file], out_needed=True)


class _Lora:
    """A LoRA with its strengths."""

    def __init__(self) -> None:
        with ui.row().classes("wide lora-row"):
            self.file = path_field("LoRA", LORA)
            self.strength = number_field(say("web.tool_strength"), 1.0, step=0.05)
            self.text = number_field(say("web.tool_text_strength"), None, step=0.05)
            self.blocks = ui.input(say("web.tool_blocks")).props("outlined dense")

    def words(self) -> list[str]:
        if not self.file.value:
            return []
        strength = 1.0 if self.strength.value is None else self.strength.value
        text = "" if self.text.value is None else f":{self.text.value:g}"
        blocks = str(self.blocks.value or "").strip()
        return [f"--lora={file_word(self.file)}:{strength:g}{text}", *([f"--blocks={blocks}"] if blocks else [])]


def _resize(desk: Desk) -> None:
    file = path_field("LoRA", LORA)
    with ui.row():
        rank, conv = number_field(say("web.tool_rank"), 8), number_field(say("web.tool_conv_rank"), None)
        rule, value = _rule()
        precision = precision_field()
    _result(
        lambda: [
            *("resize", file_word(file), *whole("--rank", rank), *whole("--conv-rank", conv)),
            *_rule_words(rule, value),
            *precision_words(precision),
        ],
        lambda: [file, rank, *([value] if rule.value else [])],
    )


def _extract(desk: Desk) -> None:
    base = path_field(say("web.tool_base"), MODEL, folders=True)
    tuned = path_field(say("web.tool_tuned"), MODEL, folders=True)
    with ui.row():
        rank, conv = number_field(say("web.tool_rank"), 64), number_field(say("web.tool_conv_rank"), None)
        rule, value = _rule()
        precision = choice(say("web.tool_precision"), ("fp16", "bf16", "float"), "fp16")
    _result(
        lambda: [
            *("extract", model_word(base), model_word(tuned), *whole("--rank", rank), *whole("--conv-rank", conv)),
            *_rule_words(rule, value),
            *precision_words(precision),
        ],
        lambda: [base, tuned, *([value] if rule.value else [])],
        out_needed=True,
    )


def _convert(desk: Desk) -> None:
    file = path_field("LoRA", LORA, folders=True)
    to = choice(say("web.tool_to"), ("kohya", "diffusers", "peft"), "diffusers")
    _result(lambda: ["convert", file_word(file), f"--to={to.value}"], lambda: [file])


def _rule() -> "tuple[ui.select, ui.number]":
    names = {"": say("web.tool_fixed"), "sv-ratio": "sv_ratio", "sv-fro": "sv_fro", "sv-cumulative": "sv_cumulative"}
    return choice(say("web.tool_rule"), names, ""), number_field(say("web.tool_rule_number"), None, step=0.05)


def _rule_words(rule: "ui.select", value: "ui.number") -> list[str]:
    return [f"--{rule.value}={value.value or 0:g}"] if rule.value else []


def _result(words: Words, needed: Needed, *, out_needed: bool = False) -> None:
    """Where the result goes, the button, and what came of it. `needed` are the fields that must not be empty."""
    out = path_field(say("web.tool_out"), LORA, folders=True)
    with ui.row().classes("tool-run"):
        button = ui.button(say("web.tool_run"), icon="play_arrow").props("unelevated no-caps")
        overwrite = ui.switch(say("web.tool_overwrite"))
        spinner = ui.spinner(size="sm")
    spinner.visible = False
    said = Said()

    async def work() -> None:
        if empty := [field for field in [*needed(), *([out] if out_needed else [])] if field.value in (None, "")]:
            said.wrong("\n".join(say("web.needed", name=field.props["label"]) for field in empty))
            return
        target = ["--out", file_word(out)] if out.value else []
        button.disable()
        spinner.visible = True
        said.nothing()
        answer = await run.io_bound(ask_tool, *words(), *target, *(["--overwrite"] if overwrite.value else []))
        spinner.visible = False
        button.enable()
        if answer is not None and answer.data is None:
            said.wrong(answer.said)
        elif answer is not None and answer.data is not None:
            said.done(say("web.tool_written", path=answer.data["out"]))

    button.on_click(work)


TOOLS: dict[str, Callable[[Desk], None]] = {
    "inspect": inspect_panel,
    "merge": _merge,
    "resize": _resize,
    "extract": _extract,
    "convert": _convert,
}
