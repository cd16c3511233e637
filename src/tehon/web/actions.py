"""What the page and its HTTP interface begin as processes of their own: runs, the queue's worker, grids.

>>> start(settings).path
PosixPath('output/runs/mycat-20260101-120000')
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.planning.saves import final_name
from tehon.runs.known import remember
from tehon.runs.launch import begin, detached, launch
from tehon.runs.layout import RunDirectory
from tehon.runs.queue import Job, Queue
from tehon.settings.files import to_toml
from tehon.settings.resolve import open_names
from tehon.settings.settings import Settings

_CHILDREN: list["subprocess.Popen[bytes]"] = []


def start(settings: Settings) -> RunDirectory:
    """Begins a run as a process of its own. Problems when it cannot start."""
    plan, text = _ready(settings)
    output = plan.settings.output
    remember(Path(output.folder))
    launched = launch(text, Path(output.folder), output.name)
    _look_after(launched.process)
    return launched.run


def resume(run: RunDirectory) -> None:
    """Goes on with a run as a process of its own."""
    _look_after(begin(run).process)


def enqueue(settings: Settings) -> Job:
    """Puts a run behind all others in the queue. Problems when it could not start now."""
    plan, text = _ready(settings)
    output = plan.settings.output
    return Queue().add(text, output.name, Path(output.folder), plan.settings.training.device)


def work_the_queue() -> None:
    """A worker as a process of its own, until the queue is empty; a second one for the device ends at once."""
    _look_after(detached(["queue", "start"], subprocess.DEVNULL))


def draw_grid(run: RunDirectory, prompt: str, strengths: Sequence[float], out: Path) -> "subprocess.Popen[bytes]":
    """Draws checkpoints by strengths as a process of its own, into `out/grid.html`; what it says is in out/log.txt."""
    words = ["grid", str(run.path), "--out", str(out), "--strengths", *map(str, strengths)]
    words += ["--prompt", prompt] if prompt else []
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log.txt").open("wb") as log:
        process = detached(words, log.fileno())
    _look_after(process)
    return process


def taken(plan: Plan) -> Problem | None:
    """The Problem of a plan whose LoRA is there already, of which a plan alone need not say anything."""
    output = plan.settings.output
    place = Path(output.folder) / final_name(output.name)
    if output.overwrite or not place.exists():
        return None
    return Problem("output_exists", field="output.name", path=place)


def _ready(settings: Settings) -> tuple[Plan, str]:
    plan = make_plan(settings)
    if (there := taken(plan)) is not None:
        raise there
    return plan, to_toml(plan.settings, open_names(plan.given, plan.settings))


def _look_after(process: "subprocess.Popen[bytes]") -> None:
    """Takes note of the ends of our child processes, so that none stays behind as a zombie."""
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
    _CHILDREN.append(process)
