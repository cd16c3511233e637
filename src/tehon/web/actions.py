"""What the page and its HTTP interface begin as processes of their own: runs, the queue's worker, grids.

>>> start(settings).path
PosixPath('output/runs/mycat-20260101-120000')
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tehon.disk import make_folder
from tehon.planning.handover import ready
from tehon.planning.plan import make_plan
from tehon.runs.known import remember
from tehon.runs.launch import begin, detached, launch
from tehon.runs.layout import RunDirectory
from tehon.runs.queue import Job, Queue
from tehon.settings.settings import Settings

_CHILDREN: list["subprocess.Popen[bytes]"] = []


def start(settings: Settings) -> RunDirectory:
    """Begins a run as a process of its own. Problems when it cannot start."""
    plan = make_plan(settings)
    text, output = ready(plan), plan.settings.output
    remember(Path(output.folder))
    launched = launch(text, Path(output.folder), output.name)
    _look_after(launched.process)
    return launched.run


def resume(run: RunDirectory) -> None:
    """Goes on with a run as a process of its own."""
    _look_after(begin(run).process)


def enqueue(settings: Settings) -> Job:
    """Puts a run behind all others in the queue. Problems when it could not start now."""
    plan = make_plan(settings)
    output = plan.settings.output
    return Queue().add(ready(plan), output.name, Path(output.folder), plan.settings.training.device)


def work_the_queue(device: str = "auto") -> None:
    """A worker as a process of its own, until the queue is empty; a second one for the device ends at once."""
    _look_after(detached(["queue", "start", "--device", device], subprocess.DEVNULL))


def draw_grid(run: RunDirectory, prompt: str, strengths: Sequence[float], out: Path) -> "subprocess.Popen[bytes]":
    """Draws checkpoints by strengths as a process of its own, into `out/grid.html`; what it says is in out/log.txt."""
    words = ["grid", str(run.path), "--out", str(out), "--strengths", *map(str, strengths)]
    words += ["--prompt", prompt] if prompt else []
    make_folder(out)
    with (out / "log.txt").open("wb") as log:
        process = detached(words, log.fileno())
    _look_after(process)
    return process


def _look_after(process: "subprocess.Popen[bytes]") -> None:
    """Takes note of the ends of our child processes, so that none stays behind as a zombie."""
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
    _CHILDREN.append(process)
