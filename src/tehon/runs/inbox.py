"""Asking a running trainer for something: an empty file in the run's inbox, which the trainer takes away and obeys.

A file works on every system, over ssh and from a page that was started anew, and needs no connection to the trainer.

>>> ask(run, "stop")
"""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from tehon.disk import remove, unwritable
from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import is_held
from tehon.runs.read import read_json

REQUESTS = ("stop", "save", "preview")
_ENDED = "ended"  # says that whoever ended the process meant to; the trainer had no time to say so


class Inbox:
    """The trainer's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def asked(self, request: str) -> bool:
        """Whether this has been asked for since the last time."""
        file = self.folder / request
        found = file.is_file()
        if found:
            remove(file)
        return found

    def clear(self) -> None:
        """Forgets what was asked of a process that is no more."""
        for request in REQUESTS:
            self.asked(request)

    def begin(self) -> None:
        """Takes away the word that the process before was ended, once it is on record that another has begun."""
        self.asked(_ENDED)


def ask(run: RunDirectory, request: str) -> None:
    """Asks the run's trainer; a Problem when none is at work."""
    if not is_held(run.lock):
        raise Problem("run_not_running", path=run.path)
    try:
        run.inbox.mkdir(exist_ok=True)
        (run.inbox / request).touch()
    except OSError as error:
        raise unwritable(run.inbox / request, error) from None


def end_now(run: RunDirectory) -> None:
    """Ends the run's trainer at once, with nothing saved, and leaves word that it was asked for. The number in its
    heartbeat is its own for sure, since it holds the lock; a Problem when it is at work on another machine."""
    if not is_held(run.lock):
        raise Problem("run_not_running", path=run.path)
    now = read_json(run.progress)
    if now.get("host") != socket.gethostname():
        raise Problem("run_elsewhere", path=run.path, host=now.get("host"))
    word = run.inbox / _ENDED
    with suppress(OSError):  # a full disk keeps nobody from ending a run
        run.inbox.mkdir(exist_ok=True)
        word.touch()
    try:
        os.kill(int(now["pid"]), getattr(signal, "SIGKILL", signal.SIGTERM))
    except OSError:
        remove(word)
        raise


def was_ended(run: RunDirectory) -> bool:
    """Whether somebody ended the run's last process at once."""
    return (run.inbox / _ENDED).is_file()
