"""Taking a run's directory for this process, from before its settings are looked at until it is done.

>>> with claimed(directory):
...     resume(directory)
"""

from collections.abc import Generator
from contextlib import contextmanager

from tehon.messages.problem import Problem
from tehon.runs.heartbeat import Heartbeat
from tehon.runs.inbox import Inbox
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding


@contextmanager
def claimed(directory: RunDirectory) -> Generator[None, None, None]:
    """Nobody else works in the directory meanwhile; a Problem when somebody does already. What was asked of a process
    that is no more is forgotten; what is asked from now on counts."""
    with holding(directory.lock) as mine:
        if not mine:
            raise Problem("run_running", path=directory.path)
        Inbox(directory.inbox).clear()
        Heartbeat(directory.progress).tell("starting")  # in place of the heartbeat of the process before
        yield
