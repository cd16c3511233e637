"""What went wrong with something that was asked for, where there is no better place on the page to say it."""

from nicegui import ui

from tehon.messages.catalogue import say


def complain(problem: Exception) -> None:
    """A sentence at the foot of the page that stays until it is closed."""
    ui.notify(str(problem), type="negative", multi_line=True, timeout=0, close_button=say("web.close"))
