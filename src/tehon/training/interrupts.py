"""Signals that ask a training to end, before its first update at once, later after the update at hand.

>>> with stoppable(stop):
...     while not stop.wanted:
...         next(updates)
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


class StoppedEarly(BaseException):
    """The training ends before its next update. Like KeyboardInterrupt it is no Exception, which libraries catch."""


class Stop:
    """Whether the training shall end after the update at hand; `told` is called when somebody asks. Where nothing is
    `updating`, there is nothing to finish or save, and who asks needn't be told to wait."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        self.wanted = False
        self.updating = False
        self.told = told

    def want(self) -> None:
        first, self.wanted = not self.wanted, True
        if first and self.updating:
            self.told()


@contextmanager
def stoppable(stop: Stop, several: bool = False) -> Generator[None, None, None]:
    """The first Ctrl-C, SIGTERM or lost terminal asks to stop after the update at hand, or before the updates raises
    StoppedEarly; the second ends at once, also while the first is still being told. Of `several` processes each gets
    the terminal's signal and another from its launcher, which ends by force those that take too long; so there a second
    one asks for no more than the first, and as all have to end together, neither raises anything."""

    def handle(at_once: Callable[[], None]) -> None:
        if not several:
            at_once()
        stop.want()
        if not (several or stop.updating):
            raise StoppedEarly

    with heeding(handle):
        yield


@contextmanager
def heeding(handle: Callable[[Callable[[], None]], None]) -> Generator[None, None, None]:
    """While this lasts, a signal that asks to end calls `handle`, with what makes the next one end at once again. In
    the main thread alone, as signals can't be caught in others."""
    before: dict[signal.Signals, Any] = {}

    def give_back() -> None:
        for known, former in before.items():
            signal.signal(known, former)

    try:
        for known in _ending() if threading.current_thread() is threading.main_thread() else ():
            before[known] = signal.getsignal(known)
            signal.signal(known, lambda number, frame: handle(give_back))
        yield
    finally:
        give_back()


def _ending() -> list[signal.Signals]:
    """The signals that ask a process to end: Windows has Ctrl-Break and the closed window for the lost terminal. One
    that the process was told to ignore is left so: the lost terminal by nohup, Ctrl-C by a shell that starts something
    in the background, as it is meant for what runs in front."""
    known = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")]
    return [one for one in known if one is not None and signal.getsignal(one) is not signal.SIG_IGN]
