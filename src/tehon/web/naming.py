"""Sentences as the page says them: with a setting's label where the command line has its dotted name.

>>> worded("data.folder: pictures lie directly in /cats; set data.repeats.")
'Image folder: pictures lie directly in /cats; set “Repeats”.'
"""

import re
from collections.abc import Callable
from functools import cache, partial

from nicegui import ui

from tehon.messages.catalogue import say
from tehon.settings.fields import fields

_INNER = re.compile(r"`(\w+)`")


def worded(sentence: str) -> str:
    return "".join(text for text, _ in pieces(sentence))


def worded_help(name: str, text: str) -> str:
    """A setting's help, in which those of its own section stand by their last name, in code."""
    section = name.partition(".")[0]
    return worded(_INNER.sub(lambda one: f"`{full}`" if (full := f"{section}.{one[1]}") in _known() else one[0], text))


def pieces(sentence: str) -> list[tuple[str, str]]:
    """The pieces of a sentence, each with the setting that it names, or ''. Options like --data.folder are left alone,
    and so is code."""
    found: list[tuple[str, str]] = []
    end = 0
    for match in _names().finditer(sentence):
        name, row, inner = match["name"], match["row"], match["inner"]
        label = say(f"label.{name}")
        if row and inner and f"data.{inner}" in _known():
            label = say("web.row_of", label=label, row=row, inner=say(f"label.data.{inner}"))
        elif row:
            label += match[0].partition(name)[2].rstrip("`")
        opens = match.start() == 0 and sentence[match.end() :].startswith(":")
        before, end = sentence[end : match.start()], match.end()
        if not opens:
            label = say("web.named", label=label)
            if label.endswith("」"):  # beside these no space is set, as is beside a name in Latin letters
                before, end = before.removesuffix(" "), end + sentence[end:].startswith(" ")
        found += [(before, ""), (label, name)]
    return [piece for piece in [*found, (sentence[end:], "")] if piece[0]]


def mark(sentence: str, icon: str, kind: str, go_to: Callable[[str], None], name: str = "") -> None:
    """Builds a sentence that leads to the settings that it names, and by a click anywhere else to `name`."""
    found = pieces(sentence)
    leads = any(of for _, of in found)
    with ui.element("button" if name and not leads else "div").classes(f"mark {kind}") as box:
        ui.icon(icon).props('aria-hidden="true"')
        with ui.element("div"):
            for text, of in found:
                if of:
                    with ui.element("button").classes("named").on("click.stop", partial(go_to, of)):
                        ui.label(text)
                else:
                    ui.label(text)
    if name:
        box.classes("leads").on("click", partial(go_to, name))


@cache
def _known() -> frozenset[str]:
    return frozenset(one.name for one in fields())


@cache
def _names() -> re.Pattern[str]:
    """A name in a sentence, alone in code or outside of it, and perhaps a place within its tables, as in
    `data.sets[1].folder`."""
    names = "|".join(re.escape(name) for name in sorted(_known(), key=len, reverse=True))
    place = r"(?:\[(?P<row>\d+)\](?:\.(?P<inner>\w+))?)?"
    return re.compile(rf"(?P<code>`)?(?<![\w./\\-])(?P<name>{names}){place}(?(code)`|(?![\w`]|\.\w| =))")
