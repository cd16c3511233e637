"""Who is alive: a process holds a lock for as long as it lives, and the system takes it back however the process ends.

So the truth about a process needs no process number, which a later process may get, and no clock, which may be set
back; after a crash, a kill or a restart of the machine nobody holds the lock.

>>> with holding(run.lock) as mine:
...     is_held(run.lock)
True
"""

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tehon.disk import unwritable
from tehon.messages.problem import Problem

if sys.platform == "win32":
    import msvcrt

    def _lock(number: int, shared: bool) -> None:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)

    _BUSY = (PermissionError, OSError)
else:
    import fcntl

    def _lock(number: int, shared: bool) -> None:
        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    _BUSY = (BlockingIOError, PermissionError)  # the latter on some drives of a network

_PATIENCE = 1.0  # seconds; whoever only asks whether a lock is held has it for an instant


@contextmanager
def holding(file: Path, patience: float = _PATIENCE) -> Generator[bool, None, None]:
    """Holds the lock inside the block. Gives False, and holds nothing, when another process has it."""
    number = _take(file, patience)
    try:
        yield number is not None
    finally:
        if number is not None:
            os.close(number)


def is_held(file: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        number = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        _lock(number, shared=True)
    except _BUSY:
        return True
    except OSError:  # on a drive without locks nobody holds one
        return False
    finally:
        os.close(number)
    return False


def _take(file: Path, patience: float) -> int | None:
    try:
        number = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(file, error) from None
    until = time.monotonic() + patience
    while True:
        try:
            _lock(number, shared=False)
            return number
        except _BUSY:
            if time.monotonic() >= until:
                os.close(number)
                return None
            time.sleep(0.01)
        except OSError as error:
            os.close(number)
            raise Problem("locks_missing", path=file, reason=error.strerror or error) from None
