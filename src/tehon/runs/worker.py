"""The queue's worker of one device: it runs jobs one after another, each as a process of its own.

A job whose worker or machine died is still marked as taken; the device's next worker waits for its process when that
lives on, and otherwise goes on from its newest state. A job that fails is left behind and the next one begun.

>>> Worker(Queue(), "cuda:0", tell).work()
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tehon.disk import make_folder
from tehon.messages.problem import Problem
from tehon.runs.inbox import ask, end_now
from tehon.runs.launch import Launched, begin, prepare
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding, is_held
from tehon.runs.queue import ENDED, Job, Queue
from tehon.runs.status import Status, look

Tell = Callable[[str, Job, Status | None], None]
"""Told of what happens to a job: (begun, working about once a second, ended, stopping, given_back, refused, held_back
by a pause; the job; its run's status)."""
_PAUSE, _IDLE = 0.2, 1.0  # seconds between two looks at a run, and at an empty queue


class Worker:
    """`device` is cpu, mps or cuda:N. `stop` may be called at any time, by a signal too."""

    def __init__(self, queue: Queue, device: str, tell: Tell) -> None:
        self.queue = queue
        self.device = device
        self.tell = tell
        self.stops = 0

    def stop(self) -> None:
        """Once: the run at hand stops after its step and saves its state. Twice: it is ended at once. The job then
        waits in the first place, to be gone on with."""
        self.stops += 1

    def work(self, stay: bool = False) -> None:
        """Until no job is left that fits the device; with `stay`, until it is stopped. While the queue is paused it
        waits. A Problem when the device has a worker already."""
        told: Job | None = None
        with self._only_one():
            while not self.stops:
                job = self.queue.take(self.device, self.fits)
                held = None if job is not None else self.queue.held_back(self.device, self.fits)
                if held is not None and held != told:
                    self.tell("held_back", held, None)
                told = held
                if job is not None:
                    self._run(job)
                elif stay or held is not None:
                    time.sleep(_IDLE)
                else:
                    return

    def fits(self, job: Job) -> bool:
        """Whether the job may be trained on this device."""
        return job.fits(self.device)

    @property
    def _kind(self) -> str:
        return self.device.partition(":")[0]

    @contextmanager
    def _only_one(self) -> Generator[None, None, None]:
        lock = self.queue.worker_lock(self.device)
        make_folder(lock.parent)
        with holding(lock) as mine:
            if not mine:
                raise Problem("queue_worked", device=self.device)
            yield

    def _run(self, job: Job) -> None:
        """From taking the job up to noting that it is over."""
        run, launched = job.directory, None
        if run is None or not is_held(run.lock):
            if run is not None and _is_over(job, look(run)):
                self._end(job, run)
                return
            try:
                run = run or self._prepared(job)
                launched = self._begin(job, run)
            except Problem as problem:  # its folder can't be written, say: the next job may have another
                job = self.queue.update(job, state=ENDED, trouble=str(problem))
                self.tell("refused", job, None)
                return
        self.tell("begun", job, look(run))
        self._wait(job, run, launched)
        if self.queue.job(job.number).again and look(run).state != "finished":
            self.queue.give_back(job)
            self.tell("given_back", job, look(run))
        else:
            self._end(job, run)

    def _prepared(self, job: Job) -> RunDirectory:
        """The job's run directory, noted before there is a process, so that no run of the queue is unknown to it."""
        settings = self.queue.settings_of(job)
        try:
            text = settings.read_text("utf8")
        except OSError as error:
            raise Problem("file_unreadable", path=settings, reason=error.strerror or error) from None
        run = prepare(text, Path(job.output), job.name)
        self.queue.update(job, run=str(run.path), device=self._kind)
        return run

    def _begin(self, job: Job, run: RunDirectory) -> Launched:
        options = [] if run.settings.is_file() else ["--training.device", self._kind]
        self.queue.update(job, again=False)
        return begin(run, options, _only_card(self.device.partition(":")[2]))

    def _wait(self, job: Job, run: RunDirectory, launched: Launched | None) -> None:
        """Until neither the process that was begun nor another one is at work on the run."""
        obeyed = 0
        told = time.monotonic()
        while (launched is not None and launched.process.poll() is None) or is_held(run.lock):
            if self.stops > obeyed:
                obeyed = self.stops
                job = self.queue.update(job, again=True)  # first: it is to be gone on with even if we die here
                self.tell("stopping", job, None)
                _ask_to_stop(run, now=obeyed > 1)
            if time.monotonic() - told > 1:
                self.tell("working", job, look(run))
                told = time.monotonic()
            time.sleep(_PAUSE)

    def _end(self, job: Job, run: RunDirectory) -> None:
        job = self.queue.update(job, state=ENDED, again=False)
        self.tell("ended", job, look(run))


def _is_over(job: Job, status: Status) -> bool:
    """Whether a job that nobody is at work on came to an end while it had no worker."""
    if status.state == "finished":
        return True
    return status.state in ("stopped", "failed") and status.run.settings.is_file() and not job.again


def _ask_to_stop(run: RunDirectory, now: bool) -> None:
    try:
        if now:
            end_now(run)
        else:
            ask(run, "stop")
    except (Problem, OSError):  # it has just ended by itself, or is not ours to end
        return


def _only_card(number: str) -> dict[str, str]:
    """The environment in which a graphics card is the only one; of those that we may use ourselves."""
    if not number:
        return {}
    ours = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    cards = [card.strip() for card in ours.split(",") if card.strip()]
    return {"CUDA_VISIBLE_DEVICES": cards[int(number)] if cards else number}
