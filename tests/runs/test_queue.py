"""The queue outlives workers and machines, gives each job to one worker, and loses none."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tehon
from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.runs.inbox import ask
from tehon.runs.launch import Launched
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding, is_held
from tehon.runs.queue import ENDED, TAKEN, WAITING, Job, Queue, job_state, seen
from tehon.runs.read import read_json
from tehon.runs.status import Status
from tehon.runs.worker import Worker

TRAINER = """
import sys, time
from pathlib import Path
from tehon.runs.claim import claimed
from tehon.runs.inbox import Inbox
from tehon.runs.layout import RunDirectory
from tehon.runs.record import append_rows, event

run = RunDirectory(Path(sys.argv[1]))
wish = run.launch.read_text()
with claimed(run):
    first = not run.settings.exists()
    run.settings.write_text("")
    append_rows(run.events, [event("opened", options=sys.argv[2:]), event("started", steps=3)])
    if wish == "fail":
        append_rows(run.events, [event("failed", reason="no memory")])
        sys.exit(1)
    while wish == "long" and first:
        if Inbox(run.inbox).asked("stop"):
            append_rows(run.events, [event("stopped", step=2)])
            sys.exit(3)
        time.sleep(0.02)
    append_rows(run.events, [event("finished", path="mine.safetensors")])
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(tehon.__file__).parents[1])}
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tehon.runs import worker
from tehon.runs.queue import Queue
from test_queue import pretend
worker.begin = pretend
worker.Worker(Queue(Path(sys.argv[2])), "cpu", lambda event, *rest: print(event, flush=True)).work()
"""


def pretend(run: RunDirectory, options: Any = (), environment: Any = None) -> Launched:
    """A trainer without torch that does what the settings say: `fail`, `long` until it is stopped, or finish."""
    own = ENVIRONMENT | dict(environment or {})
    process = subprocess.Popen([sys.executable, "-c", TRAINER, str(run.path), *options], env=own)
    while process.poll() is None and not is_held(run.lock):
        time.sleep(0.01)
    return Launched(run, process)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr("tehon.runs.worker.begin", pretend)
    return Queue(tmp_path / "queue")


def add(queue: Queue, folder: Path, wish: str, name: str, device: str = "auto") -> Job:
    return queue.add(wish, name, folder / "out", device)


def states(queue: Queue) -> dict[int, str]:
    return {job.number: job_state(queue, job, seen(job)) for job in queue.jobs()}


def work(queue: Queue, device: str = "cpu") -> list[tuple[str, int]]:
    told: list[tuple[str, int]] = []
    Worker(queue, device, lambda event, job, status: told.append((event, job.number))).work()
    return [row for row in told if row[0] != "working"]


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_jobs_have_numbers_for_good_and_an_order_that_can_be_changed(queue: Queue, tmp_path: Path) -> None:
    for name in "abcd":
        add(queue, tmp_path, "finish", name)
    queue.move(4, 1)
    queue.move(1, 99)
    assert [job.number for job in queue.jobs()] == [4, 2, 3, 1]
    queue.move(3, 2)
    assert [job.number for job in Queue(queue.folder).jobs()] == [4, 3, 2, 1], "another process sees the same"
    queue.remove([3, 1])
    assert [job.number for job in queue.jobs()] == [4, 2]
    assert add(queue, tmp_path, "finish", "e").number == 5
    assert sorted(file.name for file in (queue.folder / "jobs").iterdir()) == ["2.toml", "4.toml", "5.toml"]
    for act in (lambda: queue.move(3, 1), lambda: queue.remove([4, 3]), lambda: queue.retry(3)):
        with pytest.raises(Problem, match=r"^3: there is no such job"):
            act()
    assert [job.number for job in queue.jobs()] == [4, 2, 5], "all of it or nothing"
    assert sorted(file.name for file in (queue.folder / "jobs").iterdir()) == ["2.toml", "4.toml", "5.toml"]
    with pytest.raises(Problem, match=r"^4: this job waits already"):
        queue.retry(4)


def test_two_jobs_do_not_write_one_lora(queue: Queue, tmp_path: Path) -> None:
    first = add(queue, tmp_path, "finish", "a")
    with pytest.raises(Problem, match=rf"^output\.name: job 1 is to write LoRAs named a into {tmp_path}"):
        add(queue, tmp_path, "finish", "a")
    queue.update(first, state=ENDED)
    assert add(queue, tmp_path, "finish", "a").number == 2


def test_a_damaged_queue_is_not_taken_for_an_empty_one(queue: Queue, tmp_path: Path) -> None:
    add(queue, tmp_path, "finish", "a")
    good = queue.file.read_text()
    for bad in (good[:30], "[]", good.replace('"version": 1', '"version": 2'), good.replace('"name"', '"nom"')):
        queue.file.write_text(bad)
        with pytest.raises(Problem, match="the queue cannot be read"):
            add(queue, tmp_path, "finish", "b")
        assert queue.file.read_text() == bad


def test_a_queue_without_room_for_its_folder_says_that_the_disk_is_full(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(Problem) as caught:
        queue.add("", "a", tmp_path, "cpu")
    assert caught.value.key == "disk_full_at"


def test_one_job_after_another_is_run_and_a_failing_one_stops_no_other(queue: Queue, tmp_path: Path) -> None:
    for name, wish in (("a", "finish"), ("b", "fail"), ("c", "finish")):
        add(queue, tmp_path, wish, name)
    told = work(queue)
    assert told == [(event, number) for number in (1, 2, 3) for event in ("begun", "ended")]
    assert states(queue) == {1: "finished", 2: "failed", 3: "finished"}
    failed = seen(queue.job(2))
    assert failed is not None
    assert (failed.reason, failed.name) == ("no memory", "b")
    queue.retry(2)
    assert states(queue)[2] == "waiting"
    run = queue.job(2).run
    assert work(queue) == [("begun", 2), ("ended", 2)]
    assert queue.job(2).run == run, "it went on in its own directory"
    opened = [row for row in _rows(RunDirectory(Path(run))) if row["event"] == "opened"]
    assert [row["options"] for row in opened] == [["--training.device", "cpu"], []]


def _rows(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.events.read_text().splitlines()]


def test_a_job_that_cannot_be_begun_is_left_behind(queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    add(queue, tmp_path, "finish", "a")
    queue.add("finish", "b", tmp_path / "elsewhere", "auto")
    assert work(queue) == [("refused", 1), ("begun", 2), ("ended", 2)]
    assert states(queue) == {1: "failed", 2: "finished"}
    assert queue.job(1).trouble.startswith("output.folder: ")


@pytest.mark.parametrize(
    ("wishes", "ends"),
    [
        (["finish"], (0, "The queue is done.")),
        (["finish", "fail"], (2, "The queue is done; 1 job has not finished, as tehon queue list shows.")),
        (["", "finish", "fail"], (2, "The queue is done; 2 jobs have not finished, as tehon queue list shows.")),
    ],
    ids=["all well", "one failed", "one refused too"],
)
def test_the_exit_code_says_whether_all_jobs_finished(
    queue: Queue,
    wishes: list[str],
    ends: tuple[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tehon.runs.queue.Queue", lambda: queue)
    for number, wish in enumerate(wishes):
        job = add(queue, tmp_path, wish, f"job{number}")
        if not wish:
            queue.settings_of(job).unlink()
    code = main(["queue", "start", "--device", "cpu"])
    assert (code, capsys.readouterr().out.splitlines()[-1]) == ends


def test_a_worker_takes_what_fits_its_device_and_a_device_has_one(queue: Queue, tmp_path: Path) -> None:
    for name, device in (("a", "cuda"), ("b", "auto"), ("c", "cpu")):
        add(queue, tmp_path, "finish", name, device)
    assert [number for event, number in work(queue) if event == "begun"] == [2, 3]
    assert [job.device for job in queue.jobs()] == ["cuda", "cpu", "cpu"], "what was begun stays on its device"
    with holding(queue.worker_lock("cuda:1")), pytest.raises(Problem, match=r"^cuda:1: this device has a worker"):
        work(queue, "cuda:1")
    assert [number for event, number in work(queue, "cuda:0") if event == "begun"] == [1]


def test_two_workers_cannot_take_one_job(queue: Queue, tmp_path: Path) -> None:
    for number in range(12):
        add(queue, tmp_path, "finish", f"n{number}")
    taken: list[int] = []

    def take(device: str) -> None:
        while (job := queue.take(device, lambda job: True)) is not None:
            taken.append(queue.update(job, state=ENDED).number)

    threads = [threading.Thread(target=take, args=(f"cuda:{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 13))


def stopping(queue: Queue, times: int) -> tuple[Worker, list[str]]:
    """A worker that is asked to stop so many times while its first job is at work."""
    told: list[str] = []

    def tell(event: str, job: Job, status: Status | None) -> None:
        told.append(event)
        if event == "begun" or (event == "stopping" and told.count("stopping") < times):
            worker.stop()

    worker = Worker(queue, "cpu", tell)
    return worker, told


def test_a_stopped_worker_lets_the_job_save_and_wait_in_the_first_place(queue: Queue, tmp_path: Path) -> None:
    add(queue, tmp_path, "long", "a")
    add(queue, tmp_path, "finish", "b")
    worker, told = stopping(queue, 1)
    worker.work()
    assert [event for event in told if event != "working"] == ["begun", "stopping", "given_back"]
    assert [(job.number, job.state) for job in queue.jobs()] == [(1, WAITING), (2, WAITING)]
    assert [row["event"] for row in _rows(RunDirectory(Path(queue.job(1).run)))][-1] == "stopped"
    assert work(queue) == [("begun", 1), ("ended", 1), ("begun", 2), ("ended", 2)]
    assert states(queue) == {1: "finished", 2: "finished"}


def test_a_job_that_the_user_stops_is_over_and_the_worker_goes_on(queue: Queue, tmp_path: Path) -> None:
    add(queue, tmp_path, "long", "a")
    add(queue, tmp_path, "finish", "b")

    def stop(event: str, job: Job, status: Status | None) -> None:
        if event == "begun" and job.number == 1:
            assert status is not None
            ask(status.run, "stop")
            with pytest.raises(Problem, match=r"^1: this job is at work in"):
                queue.remove([1])

    Worker(queue, "cpu", stop).work()
    assert states(queue) == {1: "stopped", 2: "finished"}


def test_a_paused_queue_ends_its_job_and_begins_no_other_until_it_goes_on(queue: Queue, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add(queue, tmp_path, "long", name)
    told: list[tuple[str, int]] = []

    def tell(event: str, job: Job, status: Status | None) -> None:
        if event != "working":
            told.append((event, job.number))
        elif job.number == 1:
            queue.pause()
        if event == "held_back":
            assert Queue(queue.folder).paused, "it outlives whoever paused it"
            assert states(queue) == {1: "stopped", 2: "waiting"}
            queue.pause(paused=False)
        elif status is not None and status.at_work and (job.number == 2 or queue.paused):
            ask(status.run, "stop")

    Worker(queue, "cpu", tell).work()
    assert told == [("begun", 1), ("ended", 1), ("held_back", 2), ("begun", 2), ("ended", 2)]


def test_a_paused_queue_goes_on_looking_after_a_run_whose_worker_died(queue: Queue, tmp_path: Path) -> None:
    job = queue.update(add(queue, tmp_path, "finish", "a"), state=TAKEN, worker="cpu", run=str(tmp_path / "run"))
    queue.pause()
    assert queue.take("cpu", lambda job: True) is None
    held = queue.held_back("cpu", lambda job: True)
    assert held is not None
    assert (held.number, held.state) == (job.number, WAITING), "it can be moved and removed as others can"
    Path(job.run).mkdir()
    with holding(RunDirectory(Path(job.run)).lock):
        taken = queue.take("cpu", lambda job: True)
        assert taken is not None
        assert (taken.number, taken.state) == (job.number, TAKEN)
    assert queue.take("cpu", lambda job: True) is None
    queue.remove([job.number])


def test_a_killed_worker_leaves_its_run_alone_and_the_next_one_goes_on(queue: Queue, tmp_path: Path) -> None:
    """First only the worker dies, and the run lives on; then both do, as when the machine loses its power."""
    add(queue, tmp_path, "long", "a")
    add(queue, tmp_path, "finish", "b")
    words = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(queue.folder)]

    def begin() -> "tuple[subprocess.Popen[bytes], RunDirectory]":
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        run = RunDirectory(Path(queue.job(1).run))
        until(lambda: run.settings.exists() and is_held(run.lock))
        return process, run

    process, run = begin()
    process.kill()
    process.wait()
    assert is_held(run.lock), "the run has not noticed"
    assert states(queue)[1] == "starting"
    assert queue.job(1).state == TAKEN
    with pytest.raises(Problem, match=r"^1: this job is at work in"):
        queue.retry(1)
    process, same = begin()
    assert same == run
    assert [row["event"] for row in _rows(run)].count("opened") == 1, "it was not begun twice"
    process.kill()
    process.wait()
    os.kill(read_json(run.progress)["pid"], signal.SIGTERM)
    until(lambda: not is_held(run.lock))
    assert states(queue) == {1: "died", 2: "waiting"}
    assert work(queue) == [("begun", 1), ("ended", 1), ("begun", 2), ("ended", 2)]
    assert [row["event"] for row in _rows(run)].count("opened") == 2
    assert states(queue) == {1: "finished", 2: "finished"}


def test_a_second_stop_ends_the_run_at_once_and_it_can_be_gone_on_with(queue: Queue, tmp_path: Path) -> None:
    add(queue, tmp_path, "deaf", "a")
    trainer = TRAINER.replace('while wish == "long" and first:', "while first:").replace(
        'Inbox(run.inbox).asked("stop")', "False"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "TRAINER", trainer)
        worker, told = stopping(queue, 2)
        worker.work()
    assert [event for event in told if event != "working"] == ["begun", "stopping", "stopping", "given_back"]
    assert states(queue) == {1: "waiting"}
    assert work(queue) == [("begun", 1), ("ended", 1)]


def test_a_worker_of_a_card_shows_its_runs_that_card_alone(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def watched(run: RunDirectory, options: Any, environment: Any) -> Launched:
        told.append(environment.get("CUDA_VISIBLE_DEVICES"))
        return pretend(run, options, environment)

    monkeypatch.setattr("tehon.runs.worker.begin", watched)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in "abc":
        add(queue, tmp_path, "finish", name)
        if name == "b":
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
        work(queue, "cpu" if name == "c" else "cuda:1")
    assert told == ["1", "6", None]
