"""Runs and jobs as tables for the terminal."""

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tehon.messages.catalogue import say
from tehon.runs.status import SILENT, Status

_STYLES = {"finished": "green", "failed": "red", "died": "red", "stopped": "yellow", "interrupted": "yellow"}
_PIPED = 200  # characters a line where nobody's terminal says how many


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """For the command line to end well; rich would end with code 1."""
        raise BrokenPipeError


def console() -> Console:
    """Plain where it is not a terminal, and then wide enough that a program can read whole names."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED)


def show(screen: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text | str]], gives: int) -> None:
    """Prints a table that is no wider than the screen: where there is too little room, the column numbered `gives` is
    cut off, and the figures stay whole."""
    lines = [[str(column.header) for column in columns], *rows]
    widths = [max(cell_len(str(line[n])) for line in lines) for n in range(len(columns))]
    others = sum(widths) - widths[gives] + 2 * len(columns)  # a blank behind each, and one between two
    columns[gives].width = max(8, min(widths[gives], screen.width - others))
    view = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for row in rows:
        view.add_row(*row)
    screen.print(view)


def words(title: str) -> Column:
    return Column(title, no_wrap=True, overflow="ellipsis")


def numbers(title: str) -> Column:
    return Column(title, no_wrap=True, justify="right")


def figures() -> list[Column]:
    """The columns of what `cells` gives."""
    return [
        words(say("cli.column_state")),
        numbers(say("cli.column_progress")),
        numbers(say("cli.column_loss")),
        numbers(say("cli.column_left")),
    ]


def cells(status: Status) -> list[Text | str]:
    """State, progress, loss, and the time that is left."""
    return [_state(status), _progress(status), _loss(status), _left(status)]


def _state(status: Status) -> Text:
    """The state in a word, and where there is something odd about it, what."""
    words = say(f"state.{status.state}")
    if status.total:
        words = say("cli.state_encoding", state=words, done=status.done or 0, total=status.total)
    if status.silent is not None and status.silent > SILENT:
        words = say("cli.state_silent", state=words, time=duration(status.silent))
    return Text(words, style="cyan" if status.at_work else _STYLES.get(status.state, ""))


def _progress(status: Status) -> str:
    """Steps done of all, and in percent."""
    if status.step is None:
        return ""
    if not status.steps:
        return str(status.step)
    return f"{status.step}/{status.steps} {100 * status.step // status.steps:3d} %"


def _loss(status: Status) -> str:
    return "" if status.loss is None else f"{status.loss:.4f}"


def _left(status: Status) -> str:
    return "" if status.seconds_left is None else duration(status.seconds_left)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as the progress bar shows them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
