"""What went wrong with something that was asked for, where there is no better place on the page to say it."""

from collections.abc import Sequence

from nicegui import context, ui

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.web.naming import worded

_STAYS = 15_000  # ms


def complain(problem: Exception) -> None:
    """A sentence at the foot of the page, until it is closed or was there long enough to be read."""
    close = {"label": say("web.close"), "color": "white"}  # else the banner's own, in which it is not seen
    ui.notify(worded(str(problem)), type="negative", multi_line=True, timeout=_STAYS, actions=[close])


def complain_of_uncaught(error: Exception) -> None:
    """For what nobody has caught: what a person can put right is said where it is seen, besides in the server's log."""
    if isinstance(error, (Problem, OSError)) and context.slot_stack:
        complain(error)


def refuse_upload(endings: Sequence[str], largest: int) -> None:
    """What may be given where a file was of another kind or too large, of which the browser tells nothing more."""
    ui.notify(say("web.load_refused", endings=", ".join(endings), limit=largest // 1_000_000), type="negative")
