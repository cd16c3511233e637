"""Output that ends nothing: when its reader goes away or its disk is full, it is dropped, and the work goes on.

>>> print("step 1", file=lasting(sys.stdout), flush=True)
"""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


def lasting(stream: TextIO | None) -> TextIO | None:
    """The stream, whose failures nobody hears of. A program without a window has none."""
    return None if stream is None else cast("TextIO", _Lasting(stream))


def keep_errors_out() -> None:
    """For a command: what libraries say on stderr ends nothing and spoils nothing. An output that was closed leads
    nowhere, lest a file that is opened gets its number and with it what is printed there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free, which is this
    sys.stderr = lasting(sys.stderr or open(os.devnull, "w", encoding="utf8"))  # noqa: SIM115  as long as the command


def silence(stream: TextIO) -> None:
    """Drops what is still to be written to a stream that takes nothing any more, at the end of the program too."""
    with suppress(OSError, ValueError):  # a stream of another program's own has no number
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, stream.fileno())
        finally:
            os.close(nothing)


class _Lasting:
    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            silence(self.stream)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            silence(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
