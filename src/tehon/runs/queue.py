"""The queue: runs that are to be trained one after another. It outlives its workers, and the machine.

All of it is one JSON file that is replaced whole, under a lock that the system takes back from a process that dies. So
a reader needs no lock and sees no half of a change, and two workers can't take one job. Each job's settings are kept
beside it as they were when it was added; what has become of a job is read from its run's directory.

>>> queue = Queue()
>>> queue.add(settings, "mycat", Path("output"), "auto").number
1
"""

import json
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tehon.disk import make_folder, remove, write_whole
from tehon.messages.problem import Problem
from tehon.runs.home import user_data_folder
from tehon.runs.known import is_run
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding, is_held
from tehon.runs.record import write_json
from tehon.runs.status import Status, look

WAITING, TAKEN, ENDED = "waiting", "taken", "ended"
_PATIENCE = 30.0  # seconds; a change takes a fraction of one
_VERSION = 1


@dataclass(frozen=True)
class Job:
    """`device` is what it wants to be trained on (auto, cpu, cuda, mps), `worker` the device of the worker that has
    taken it, `run` its run's directory once it was begun; `again` says that it is to be gone on with although its run
    was stopped or failed, `trouble` why it could not be begun at all."""

    number: int
    name: str
    output: str
    device: str
    added: str
    state: str = WAITING
    worker: str = ""
    run: str = ""
    again: bool = False
    trouble: str = ""

    @property
    def directory(self) -> RunDirectory | None:
        return RunDirectory(Path(self.run)) if self.run else None

    def fits(self, device: str) -> bool:
        """Whether it may be trained on a device, which is cpu, mps or cuda:N."""
        return self.device in ("auto", device.partition(":")[0])


class Queue:
    """The queue in tehon's folder among the user's data, or in the one given."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_data_folder() / "queue"
        self.file = self.folder / "queue.json"

    def jobs(self) -> list[Job]:
        """All jobs, in the order in which they are taken."""
        return self._read().jobs

    def job(self, number: int) -> Job:
        """The job of this number; a Problem when there is none."""
        return _one(self.jobs(), number)

    def settings_of(self, job: Job) -> Path:
        """The TOML file with the job's settings."""
        return self.folder / "jobs" / f"{job.number}.toml"

    def worker_lock(self, device: str) -> Path:
        """Held by the worker of this device for as long as it lives."""
        return self.folder / "workers" / f"{device.replace(':', '-')}.lock"

    def workers(self) -> list[str]:
        """The devices that have a living worker."""
        locks = sorted((self.folder / "workers").glob("*.lock"))
        return [lock.stem.replace("-", ":") for lock in locks if is_held(lock)]

    def is_worked(self, job: Job) -> bool:
        """Whether a living worker has this job."""
        return job.state == TAKEN and is_held(self.worker_lock(job.worker))

    def is_served(self, job: Job) -> bool:
        """Whether a living worker has this job or will come to it."""
        if job.state == TAKEN:
            return self.is_worked(job)
        return any(job.fits(device) for device in self.workers())

    def add(self, settings: str, name: str, output: Path, device: str) -> Job:
        """Behind all others. A Problem when a job that is not over yet is to write the same LoRA."""
        with self._changing() as change:
            for job in change.jobs:
                if job.state != ENDED and (job.name, job.output) == (name, str(output)):
                    raise Problem("queued_already", field="output.name", number=job.number, name=name, path=output)
            added = datetime.now(timezone.utc).isoformat(timespec="seconds")
            job = Job(change.next, name, str(output), device, added)
            write_whole(self.settings_of(job), settings.encode())
            change.jobs.append(job)
            change.next += 1
            return job

    def move(self, number: int, place: int) -> None:
        """To this place among the jobs that wait, counted from 1; a place beyond the last one is the last."""
        with self._changing() as change:
            job = _one(change.jobs, number)
            if job.state != WAITING:
                raise Problem("job_not_waiting", number=number)
            change.jobs.remove(job)
            waiting = [n for n, other in enumerate(change.jobs) if other.state == WAITING]
            change.jobs.insert(waiting[place - 1] if place <= len(waiting) else len(change.jobs), job)

    def remove(self, numbers: Collection[int]) -> None:
        """Takes jobs out; their runs stay. A Problem when one is not there or being worked on: then all stay."""
        with self._changing() as change:
            gone = [_one(change.jobs, number) for number in dict.fromkeys(numbers)]
            for job in gone:
                if job.state == TAKEN and (self.is_worked(job) or (job.directory and is_held(job.directory.lock))):
                    raise Problem("job_at_work", number=job.number, run=job.run)
                change.jobs.remove(job)
        for job in gone:
            remove(self.settings_of(job))

    def retry(self, number: int) -> Job:
        """Lets a job wait again, behind all others: it goes on from its run's newest state."""
        with self._changing() as change:
            job = _one(change.jobs, number)
            if job.state == WAITING:
                raise Problem("job_waiting", number=number)
            if self.is_worked(job) or (job.directory and is_held(job.directory.lock)):
                raise Problem("job_at_work", number=number, run=job.run)
            change.jobs.remove(job)
            change.jobs.append(replace(job, state=WAITING, worker="", again=bool(job.run), trouble=""))
            return change.jobs[-1]

    def pause(self, paused: bool = True) -> None:
        """From now on no worker begins a job, be it a new worker after a restart; those at work come to their end. With
        False they go on."""
        with self._changing() as change:
            change.paused = paused

    @property
    def paused(self) -> bool:
        return self._read().paused

    def take(self, device: str, fits: Callable[[Job], bool]) -> Job | None:
        """For the worker of a device: the job that it has taken already, before it died, or else the first one that
        waits and fits. In a paused queue it is given one whose run is at work, and no other."""
        with self._changing() as change:
            first = _next(change.jobs, device, fits)
            if first is None:
                return None
            if change.paused and not (first.directory and is_held(first.directory.lock)):
                if first.state == TAKEN:  # by a worker that died; it waits as others do
                    change.put(replace(first, state=WAITING, worker="", again=True))
                return None
            return change.put(replace(first, state=TAKEN, worker=device))

    def held_back(self, device: str, fits: Callable[[Job], bool]) -> Job | None:
        """What a worker would take if the queue were not paused."""
        now = self._read()
        return _next(now.jobs, device, fits) if now.paused else None

    def update(self, job: Job, **values: Any) -> Job:
        """For a job's worker: notes what has become of it."""
        with self._changing() as change:
            return change.put(replace(_one(change.jobs, job.number), **values))

    def give_back(self, job: Job) -> None:
        """For a job's worker: lets it wait again, before all others, to be gone on with."""
        with self._changing() as change:
            job = _one(change.jobs, job.number)
            change.jobs.remove(job)
            first = next((n for n, other in enumerate(change.jobs) if other.state == WAITING), len(change.jobs))
            change.jobs.insert(first, replace(job, state=WAITING, worker="", again=True))

    @contextmanager
    def _changing(self) -> "Generator[_Content, None, None]":
        for name in ("workers", "jobs"):
            make_folder(self.folder / name)
        with holding(self.folder / "lock", _PATIENCE) as mine:
            if not mine:
                raise Problem("queue_busy", path=self.folder)
            change = self._read()
            before = change.as_data()
            yield change
            if before != (after := change.as_data()):
                write_json(self.file, after)

    def _read(self) -> "_Content":
        """A file that can't be understood is not taken for an empty queue."""
        try:
            content = json.loads(self.file.read_text("utf8"))
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}")
            jobs = [Job(**row) for row in content["jobs"]]
            return _Content(int(content["next"]), jobs, bool(content.get("paused")))
        except FileNotFoundError:
            return _Content(1, [], paused=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Problem("queue_unreadable", path=self.file, reason=error) from None


@dataclass
class _Content:
    """What the file holds: the next job's number, and the jobs in their order."""

    next: int
    jobs: list[Job]
    paused: bool

    def as_data(self) -> dict[str, Any]:
        return {"version": _VERSION, **asdict(self)}

    def put(self, job: Job) -> Job:
        """In the place of the job of its number."""
        self.jobs[[other.number for other in self.jobs].index(job.number)] = job
        return job


def _next(jobs: Sequence[Job], device: str, fits: Callable[[Job], bool]) -> Job | None:
    """What the worker of a device is to do: what it has taken already, or the first job that waits and fits."""
    own = [job for job in jobs if job.state == TAKEN and job.worker == device]
    waiting = [job for job in jobs if job.state == WAITING and fits(job)]
    return next(iter(own + waiting), None)


def _one(jobs: Sequence[Job], number: int) -> Job:
    for job in jobs:
        if job.number == number:
            return job
    raise Problem("job_missing", number=number)


def seen(job: Job) -> Status | None:
    """How the job's run does; None while it has none, and when its directory is no more."""
    run = job.directory
    return look(run) if run is not None and is_run(run.path) else None


def job_state(queue: Queue, job: Job, status: Status | None) -> str:
    """What a job is doing, or how it ended: a state of its run, or `waiting`, `beginning`, `gone` (its run's directory
    is no more). A job whose worker died is shown as its run is: at work still, or died."""
    if job.state == WAITING and not (status and status.at_work):
        return "waiting"
    if status is not None:
        return status.state
    if job.state == ENDED:
        return "failed" if job.trouble else "gone"
    return "beginning" if queue.is_worked(job) else "waiting"
