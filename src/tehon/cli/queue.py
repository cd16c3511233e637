"""`tehon queue add|list|move|remove|retry|start|pause|resume`: runs that are trained one after another."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.training.interrupts import heeding

if TYPE_CHECKING:
    from rich.text import Text

    from tehon.runs.queue import Job, Queue
    from tehon.runs.status import Status

_WHICH = """
from torch import backends, cuda
print(*(f"cuda:{card}" for card in range(cuda.device_count() if cuda.is_available() else 0)))
print("mps" * backends.mps.is_available(), "cpu")
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=say(f"cli.queue_{name}"), description=say(f"cli.queue_{name}"))

    add = verb("add")
    add.add_argument("config", type=Path, metavar="CONFIG", help=say("cli.config"))
    add.epilog = say("cli.settings_too")
    verb("list").add_argument("--json", action="store_true", help=say("cli.json"))
    move = verb("move")
    move.add_argument("job", type=int, metavar="JOB", help=say("cli.job"))
    move.add_argument("place", metavar="PLACE", help=say("cli.queue_place"))
    remove = verb("remove")
    remove.add_argument("jobs", type=int, nargs="*", metavar="JOB", help=say("cli.job"))
    remove.add_argument("--ended", action="store_true", help=say("cli.queue_ended"))
    verb("retry").add_argument("job", type=int, metavar="JOB", help=say("cli.job"))
    start = verb("start")
    start.add_argument("--device", default="auto", metavar="DEVICE", help=say("cli.queue_device"))
    start.add_argument("--stay", action="store_true", help=say("cli.queue_stay"))
    start.add_argument("--json", action="store_true", help=say("cli.json_lines"))
    verb("pause")
    verb("resume")


def run(options: argparse.Namespace) -> int:
    from tehon.runs.queue import Queue

    if options.settings and options.verb != "add":
        raise Problem("option_of_no_settings", option=next(iter(options.settings)))
    verbs = {
        "add": _add,
        "list": _list,
        "move": _move,
        "remove": _remove,
        "retry": _retry,
        "start": _start,
        "pause": _pause,
        "resume": _pause,
    }
    return verbs[options.verb](Queue(), options)


def _add(queue: "Queue", options: argparse.Namespace) -> int:
    from tehon.planning.handover import ready
    from tehon.planning.plan import make_plan
    from tehon.settings.files import load_settings

    plan = make_plan(load_settings(options.config, options.settings))
    output = plan.settings.output
    job = queue.add(ready(plan), output.name, Path(output.folder), plan.settings.training.device)
    print(say("cli.queue_added", number=job.number, name=job.name, steps=plan.steps), _who_works(queue))
    return 0


def _who_works(queue: "Queue") -> str:
    """Whether what waits is going to be trained, and what to do when it is not."""
    if queue.paused:
        return say("cli.queue_paused")
    devices = queue.workers()
    return say("cli.queue_workers", devices=", ".join(devices)) if devices else say("cli.queue_no_worker")


def _list(queue: "Queue", options: argparse.Namespace) -> int:
    from tehon.cli.tables import cells, console, figures, numbers, show, words
    from tehon.runs.queue import WAITING, job_state, seen

    rows = [(job, seen(job)) for job in queue.jobs()]
    if options.json:
        found = [_data(job, job_state(queue, job, status), status) for job, status in rows]
        print(json_text(found, 2))
        return 0
    screen = console()
    if not rows:
        screen.print(say("cli.queue_paused") if queue.paused else say("cli.queue_empty"), soft_wrap=True)
        return 0
    lead = numbers(say("cli.column_job")), words(say("cli.column_name"))
    table: list[list[Text | str]] = []
    for job, status in rows:
        state = job_state(queue, job, status)
        shown = cells(status) if status else ["", "", "", ""]
        if status is None or state != status.state:
            shown[0] = say(f"state.{state}")
        table.append([str(job.number), job.name, *shown, job.worker or job.device])
    show(screen, [*lead, *figures(), words(say("cli.column_device"))], table, gives=1)
    for job, status in rows:
        reason = job.trouble or (status.reason if status else None)
        if reason and job_state(queue, job, status) == "failed":
            screen.print(say("cli.queue_reason", number=job.number, reason=reason), markup=False, soft_wrap=True)
    if queue.paused or any(job.state == WAITING for job, _ in rows):
        screen.print(_who_works(queue), soft_wrap=True)
    return 0


def _data(job: "Job", state: str, status: "Status | None") -> dict[str, Any]:
    return vars(job) | {"state": state, "status": status.as_data() if status else None}


def _move(queue: "Queue", options: argparse.Namespace) -> int:
    places = {"first": 1, "last": sys.maxsize}
    word = str(options.place)
    place = places.get(word) or (int(word) if word.isdecimal() else 0)
    if place < 1:
        raise Problem("place_unknown", place=word)
    queue.move(options.job, place)
    return _list(queue, argparse.Namespace(json=False))


def _remove(queue: "Queue", options: argparse.Namespace) -> int:
    from tehon.runs.queue import ENDED

    ended = [job.number for job in queue.jobs() if job.state == ENDED] if options.ended else []
    numbers = list(dict.fromkeys([*options.jobs, *ended]))
    if not numbers and not options.ended:
        raise Problem("no_jobs_named")
    queue.remove(numbers)
    return _list(queue, argparse.Namespace(json=False))


def _retry(queue: "Queue", options: argparse.Namespace) -> int:
    queue.retry(options.job)
    return _list(queue, argparse.Namespace(json=False))


def _pause(queue: "Queue", options: argparse.Namespace) -> int:
    queue.pause(options.verb == "pause")
    return _list(queue, argparse.Namespace(json=False))


def _start(queue: "Queue", options: argparse.Namespace) -> int:
    from tehon.cli.main import EXIT_PROBLEM, EXIT_STOPPED
    from tehon.runs.queue import WAITING
    from tehon.runs.worker import Worker

    show = _Show(bool(options.json))
    worker = Worker(queue, _device(options.device), show)
    try:
        with heeding(lambda at_once: worker.stop()):
            worker.work(options.stay)
    finally:
        show.close()
    left = [job for job in queue.jobs() if job.state == WAITING]
    if worker.stops:
        show.line(say("cli.queue_stopped", count=len(left)))
        return EXIT_STOPPED
    if left:
        devices = ", ".join(sorted({job.device for job in left}))
        show.line(say("cli.queue_others", count=len(left), devices=devices))
    if show.unfinished:
        show.line(say("cli.queue_unfinished", count=show.unfinished), "red")
        return EXIT_PROBLEM
    show.line(say("cli.queue_done"))
    return 0


def _device(word: str) -> str:
    """The device in full: the one that a worker of another name could not be on too. A Problem when this machine
    doesn't have it, since each job would then be begun and fail."""
    if word == "cpu":
        return word
    kind, colon, number = word.partition(":")
    if kind == "cuda" and (not colon or number.isdecimal()):
        word = f"cuda:{int(number or 0)}"
    elif word not in ("auto", "mps"):
        raise Problem("worker_device", device=word)
    there = _devices()
    if word != "auto" and word not in there:
        raise Problem("worker_device_missing", device=word, devices=", ".join(there))
    return there[0] if word == "auto" else word


def _devices() -> list[str]:
    """What this machine has, the fastest first: asked of another process, as a worker has no need of PyTorch."""
    done = subprocess.run([sys.executable, "-c", _WHICH], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem("worker_device_unseen", reason=(done.stderr.strip().splitlines() or [done.returncode])[-1])
    return done.stdout.split()


class _Show:
    """What a worker does, as lines or as JSON, and on a terminal with the bar of the run at hand."""

    def __init__(self, lines: bool) -> None:
        from tehon.cli.progress import Watcher

        self.json = lines
        self.watcher = Watcher(argparse.Namespace(json=lines, quiet=False))
        self.bar = sys.stdout.isatty() and not lines
        self.unfinished = 0
        """How many jobs came to another end than their last step."""

    def line(self, text: str, style: str = "") -> None:
        self.watcher.say(text, style)

    def close(self) -> None:
        self.watcher.close()

    def __call__(self, event: str, job: "Job", seen: "Status | None") -> None:
        if event == "refused" or (event == "ended" and seen is not None and seen.state != "finished"):
            self.unfinished += 1
        if self.json:
            if event != "working":
                facts = {"event": event, "job": _data(job, job.state, seen)}
                print(json_text(facts), file=self.watcher.out, flush=True)
            return
        if event == "working":
            if self.bar and seen is not None and seen.steps:
                self.watcher.count(say("cli.queue_job", number=job.number, name=job.name), seen.step or 0, seen.steps)
            return
        self.close()
        known: dict[str, Any] = {"number": job.number, "name": job.name, "path": seen.run.path if seen else job.output}
        if event == "begun":
            self.line(say("cli.queue_begun", **known))
        elif event == "stopping":
            self.line(say("cli.queue_stopping", **known), "yellow")
        elif event == "held_back":
            self.line(say("cli.queue_held_back", **known), "yellow")
        elif event == "given_back":
            self.line(say("cli.queue_given_back", **known), "yellow")
        elif event == "refused":
            self.line(say("cli.queue_reason", number=job.number, reason=job.trouble), "red")
        elif seen is not None:
            style = "green" if seen.state == "finished" else "red"
            self.line(say("cli.queue_over", **known, state=say(f"state.{seen.state}")), style)
            if seen.reason:
                self.line(seen.reason, style)
