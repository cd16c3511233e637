"""What a run is doing, or how it ended, as its directory tells it.

Whether a process is at work is asked of the lock, which the system takes back however a process ends: a killed process,
a crash or a restart of the machine can't leave a run that looks alive, and neither a process number nor a clock is
believed. What a living process does is in its heartbeat; how one ended, in its last event, or in the word of whoever
ended it at once; where nothing says how it ended, it died.

>>> look(run).state
'training'
"""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tehon.runs.inbox import was_ended
from tehon.runs.known import name_of
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import is_held
from tehon.runs.read import read_json, recent_rows, rows, state_step, states

WORKING = ("starting", "loading", "encoding", "training", "saving", "finishing")
ENDED = ("finished", "stopped", "interrupted", "failed", "died")
SILENT = 120.0
"""Seconds without a heartbeat after which it is worth saying; a step, a sample or a save can take a while."""


@dataclass(frozen=True)
class Status:
    """`state` is one of WORKING while a process holds the run's lock, else one of ENDED. Steps are counted from 1,
    `loss` is the mean over the last RECENT of them, `done` of `total` are pictures encoded, `silent` are the seconds
    since the last heartbeat of a living process where they are known, `saved` is the step of the newest state,
    `started` the Unix time at which the run was begun."""

    run: RunDirectory
    name: str
    state: str
    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    seconds_left: float | None = None
    done: int | None = None
    total: int | None = None
    silent: float | None = None
    pid: int | None = None
    host: str | None = None
    started: float | None = None
    saved: int | None = None
    lora: str | None = None
    reason: str | None = None

    @property
    def at_work(self) -> bool:
        return self.state in WORKING

    def as_data(self) -> dict[str, Any]:
        """For machines."""
        row = {name: value for name, value in vars(self).items() if name != "run"}
        return {"run": str(self.run.path.absolute()), "at_work": self.at_work, **row}


def look(run: RunDirectory) -> Status:
    """The truth about a run at this moment."""
    alive = is_held(run.lock)  # first: what a process writes before it ends is then there
    known: dict[str, Any] = {"started": _number(read_json(run.origin).get("started"))}
    saved = states(run)
    known["saved"] = state_step(saved[0]) if saved else None
    return _at_work(run, known) if alive else _at_rest(run, known)


def _at_work(run: RunDirectory, known: dict[str, Any]) -> Status:
    now = read_json(run.progress)
    phase = now.get("phase", "starting")
    step, steps, pace = (_number(now.get(name)) for name in ("step", "steps", "seconds_per_step"))
    if phase == "training" and step is not None and steps is not None and pace:
        known["seconds_left"] = max(0.0, (steps - step) * pace)
    if phase == "encoding":
        known |= {"done": _whole(now.get("done")), "total": _whole(now.get("total"))}
    beat = _number(now.get("beat"))
    here = now.get("host") == socket.gethostname()
    if beat is not None and here:
        known["silent"] = max(0.0, time.monotonic() - beat)
    return Status(
        run,
        name_of(run),
        phase if phase in WORKING else "finishing",
        step=_whole(step),
        steps=_whole(steps),
        epoch=_whole(now.get("epoch")),
        epochs=_whole(now.get("epochs")),
        loss=_number(now.get("loss")),
        pid=_whole(now.get("pid")),
        host=None if now.get("host") is None else str(now["host"]),
        **known,
    )


def _at_rest(run: RunDirectory, known: dict[str, Any]) -> Status:
    events = rows(run.events)
    begun = max((n for n, row in enumerate(events) if row.get("event") == "opened"), default=0)
    session = events[begun:]
    end = next((row for row in reversed(session) if row.get("event") in ENDED), None)
    state = str(end["event"]) if end else "stopped" if was_ended(run) else "died"
    reason = end.get("reason") if end else None
    if not run.settings.is_file() and state != "stopped":  # launched, and turned away before anything was trained
        state, reason = "failed", last_line(run.log)
    told = (row.get("steps") for row in reversed(events) if row.get("event") == "started")
    steps = next(told, read_json(run.progress).get("steps"))  # the last heartbeat's, when it never began
    table = recent_rows(run.metrics)
    last = table[-1] if table else {}
    step = max(_whole(last.get("step")) or 0, known["saved"] or 0)
    return Status(
        run,
        name_of(run),
        state,
        step=step if step or steps else None,
        steps=_whole(steps),
        epoch=_whole(last.get("epoch")),
        loss=fmean(row["loss"] for row in table) if table else None,
        lora=str(end["path"]) if end and state == "finished" and "path" in end else None,
        reason=None if reason is None else str(reason),
        **known,
    )


def last_line(file: Path) -> str | None:
    """The last line of a log that says something."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
            lines = stream.read().decode("utf8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.strip() for line in reversed(lines) if line.strip()), None)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
