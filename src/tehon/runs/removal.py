"""Removing a run: its directory with all that is in it, and nothing outside of it.

>>> contents(run)
Contents(files=31, bytes=129522700, loras=5)
>>> remove_run(run)
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding
from tehon.runs.queue import ENDED, Queue


@dataclass(frozen=True)
class Contents:
    """What goes with a run's directory; `loras` are those in it, not the copies in the output folder."""

    files: int
    bytes: int
    loras: int


def contents(run: RunDirectory) -> Contents:
    """What is in a run's directory. Links count as themselves, since what they lead to stays."""
    sizes: list[int] = []
    for folder, _, names in os.walk(run.path):
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append((Path(folder) / name).lstat().st_size)
    return Contents(len(sizes), sum(sizes), len(list(run.weights.glob("*.safetensors"))))


def remove_run(run: RunDirectory) -> None:
    """Removes the directory for good. A Problem while a process is at work on the run, while a job of the queue is to
    go on with it, and where something in it can't be removed. What makes it a run goes last, so that a removal that was
    broken off can be repeated."""
    for job in Queue().jobs():
        if job.state != ENDED and job.directory is not None and job.directory.path.absolute() == run.path.absolute():
            raise Problem("run_queued", path=run.path, number=job.number)
    last = (run.settings, run.launch, run.lock)
    try:
        with holding(run.lock) as mine:
            if not mine:
                raise Problem("run_running", path=run.path)
            for place in run.path.iterdir():
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                elif place not in last:
                    place.unlink()
            for file in last[:-1]:
                file.unlink(missing_ok=True)
        shutil.rmtree(run.path)
    except OSError as error:
        raise Problem("run_not_removed", path=error.filename or run.path, reason=error.strerror or error) from None
