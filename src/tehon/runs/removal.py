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

from tehon.disk import is_leftover
from tehon.messages.problem import Problem
from tehon.runs.layout import NAMES, RunDirectory
from tehon.runs.lock import holding
from tehon.runs.queue import ENDED, Queue

_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")


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
    go on with it, where something in it is none of a run's, and where something can't be removed. What makes it a run
    goes last, so that a removal that was broken off can be repeated."""
    run = RunDirectory(run.path.resolve())
    for job in Queue().jobs():
        if job.state != ENDED and job.directory is not None and job.directory.path.resolve() == run.path:
            raise Problem("run_queued", path=run.path, number=job.number)
    try:
        strange = sorted(place.name for place in run.path.iterdir() if not _is_own(place.name))
        if strange:
            raise Problem("removal_strange", path=run.path, name=", ".join(strange))
        if not run.lock.is_file():
            raise Problem("removal_no_run", path=run.path)
        last = (run.settings, run.launch, run.lock)
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
        run.lock.unlink()
        run.path.rmdir()
    except OSError as error:
        raise Problem("run_not_removed", path=error.filename or run.path, reason=error.strerror or error) from None


def _is_own(name: str) -> bool:
    """Whether a run, its pictures or the system of this machine put it there."""
    return name in NAMES or name in _OF_SYSTEMS or is_leftover(name)
