"""What is said of a run is what its directory says: by lock, events and heartbeat, whatever clocks and numbers say."""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tehon
from tehon.messages.problem import Problem
from tehon.runs.claim import claimed
from tehon.runs.heartbeat import Heartbeat
from tehon.runs.inbox import Inbox, ask, end_now
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import is_held
from tehon.runs.record import append_rows, event, write_json
from tehon.runs.status import look

HOLD = """
import sys, time
from pathlib import Path
from tehon.runs.claim import claimed
from tehon.runs.inbox import Inbox
from tehon.runs.layout import RunDirectory
run = RunDirectory(Path(sys.argv[1]))
with claimed(run):
    Inbox(run.inbox).begin()
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "out" / "runs" / "mine-20260102-030405")
    directory.make()
    directory.settings.write_text("")
    return directory


@contextmanager
def process_at_work(run: RunDirectory) -> Generator["subprocess.Popen[bytes]", None, None]:
    environment = os.environ | {"PYTHONPATH": str(Path(tehon.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], env=environment)
    until = time.monotonic() + 60
    while not run.progress.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def tell(run: RunDirectory, *events: dict[str, Any]) -> None:
    append_rows(run.events, events)


def test_a_process_at_work_is_told_by_its_lock_and_a_killed_one_died(run: RunDirectory) -> None:
    with process_at_work(run) as process:
        seen = look(run)
        assert (seen.state, seen.at_work, seen.pid, seen.host) == ("starting", True, process.pid, socket.gethostname())
        tell(run, event("opened", pid=process.pid), event("started", steps=40))
        append_rows(run.metrics, [{"step": 7, "epoch": 2, "loss": 0.25}, {"step": 7, "epoch": 2, "validation_loss": 1}])
        process.kill()
        process.wait(60)
        seen = look(run)
        assert (seen.state, seen.at_work, seen.step, seen.steps, seen.loss) == ("died", False, 7, 40, 0.25)
        with pytest.raises(Problem, match="no process is at work on this run"):
            end_now(run)
        with pytest.raises(Problem, match="no process is at work on this run"):
            ask(run, "stop")


def test_a_run_that_somebody_ended_at_once_stopped_until_it_goes_on_and_dies(run: RunDirectory) -> None:
    def refuse(number: int, sign: int) -> None:
        raise PermissionError

    tell(run, event("opened"), event("started", steps=40))
    with process_at_work(run) as process:
        end_now(run)
        process.wait(60)
    assert (look(run).state, look(run).reason) == ("stopped", None)
    with claimed(run):
        pass
    assert look(run).state == "stopped", "whoever was refused, and began nothing, changed nothing"
    run.progress.unlink()
    with process_at_work(run) as process:
        time.sleep(0.2)
        process.kill()
        process.wait(60)
    assert look(run).state == "died"
    run.progress.unlink()
    with process_at_work(run) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tehon.runs.inbox.os.kill", refuse)
            with pytest.raises(PermissionError):
                end_now(run)
        process.kill()
        process.wait(60)
    assert look(run).state == "died", "a process that could not be ended was not"


def test_the_loss_that_is_shown_is_the_mean_of_the_last_hundred_steps(run: RunDirectory) -> None:
    losses = [100.0] * 50 + [0.1, 0.3] * 50
    append_rows(run.metrics, [{"step": n, "epoch": 1, "loss": loss} for n, loss in enumerate(losses, 1)])
    append_rows(run.metrics, [{"step": 150, "epoch": 1, "validation_loss": 9.0}])
    assert (look(run).step, look(run).loss) == (150, pytest.approx(0.2))
    run.metrics.unlink()
    append_rows(run.metrics, [{"step": 1, "epoch": 1, "loss": 0.5}, {"step": 2, "epoch": 1, "loss": 0.25}])
    assert look(run).loss == 0.375


def test_a_launched_run_that_was_ended_before_it_trained_stopped(run: RunDirectory) -> None:
    run.settings.unlink()
    run.launch.write_text("")
    run.log.write_text("Loading\n")
    with process_at_work(run) as process:
        end_now(run)
        process.wait(60)
    assert (look(run).state, look(run).reason) == ("stopped", None)


@pytest.mark.skipif(sys.platform == "win32", reason="one error says everything there")
def test_a_drive_without_locks_is_named_to_writers_and_readable_for_others(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(run, event("opened", pid=1), event("finished"))
    run.lock.touch()

    def refuse(number: int, shared: bool) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tehon.runs.lock._lock", refuse)
    code = errno.ENOLCK
    assert look(run).state == "finished"
    with pytest.raises(Problem, match=r"lock: this drive has no file locks \(No locks.*\).* local disk"), claimed(run):
        pass
    code = errno.EACCES
    assert is_held(run.lock)


def test_another_process_of_the_same_number_is_not_taken_for_the_run(run: RunDirectory) -> None:
    """As after a restart of the machine, when this test itself may have the number that the trainer had."""
    tell(run, event("opened", pid=os.getpid()), event("started", steps=40))
    Heartbeat(run.progress).tell("training", step=9, steps=40)
    seen = look(run)
    assert (seen.state, seen.pid, seen.seconds_left, seen.silent) == ("died", None, None, None)


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (event("finished", path="out/mine.safetensors"), "finished"),
        (event("stopped", step=9), "stopped"),
        (event("interrupted"), "interrupted"),
        (event("failed", reason="no memory"), "failed"),
    ],
)
def test_how_a_run_ended_is_its_last_event_whatever_the_heartbeat_says(
    run: RunDirectory, last: dict[str, Any], state: str
) -> None:
    tell(run, event("opened"), event("started", steps=40), last, event("notice", text="behind it"))
    Heartbeat(run.progress).tell("training", step=9, steps=40)
    seen = look(run)
    assert seen.state == state
    assert seen.reason == last.get("reason")
    assert seen.lora == last.get("path")
    tell(run, event("opened"))
    assert look(run).state == "died", "the end of the session before says nothing about this one"


def test_the_heartbeat_of_a_living_process_gives_progress_time_left_and_silence(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claimed(run):
        facts = {"step": 10, "steps": 40, "epoch": 2, "epochs": 8, "loss": 0.5, "seconds_per_step": 2.0}
        Heartbeat(run.progress).tell("training", **facts)
        monkeypatch.setattr("tehon.runs.status.time.time", lambda: 0.0)  # a clock set back says nothing
        seen = look(run)
        assert (seen.state, seen.step, seen.steps, seen.epoch, seen.epochs) == ("training", 10, 40, 2, 8)
        assert (seen.loss, seen.seconds_left) == (0.5, 60.0)
        assert seen.silent is not None
        assert seen.silent < 60
        now = time.monotonic()
        monkeypatch.setattr("tehon.runs.status.time.monotonic", lambda: now + 500)
        assert look(run).silent == pytest.approx(500, abs=60)
        Heartbeat(run.progress).tell("encoding", done=3, total=20)
        seen = look(run)
        assert (seen.state, seen.done, seen.total, seen.seconds_left) == ("encoding", 3, 20, None)
        Heartbeat(run.progress).tell("finished")
        assert look(run).state == "finishing", "it is still there, closing its logs"
        write_json(run.progress, {"phase": "training", "beat": 1.0, "host": "elsewhere", "pid": 1})
        assert look(run).silent is None, "another machine's uptime is not ours"
        with pytest.raises(Problem, match="on the machine elsewhere"):
            end_now(run)


def test_the_newest_state_is_named_and_damaged_records_are_no_trouble(run: RunDirectory) -> None:
    run.events.write_text('{"event": "ope')
    run.progress.write_text("{")
    run.metrics.write_text("nothing\n[1]\n")
    for step in (20, 8):
        run.state_file(step).touch()
    seen = look(run)
    assert (seen.state, seen.saved, seen.step, seen.name) == ("died", 20, 20, "mine")


def test_a_run_that_was_launched_in_vain_says_why(run: RunDirectory) -> None:
    run.settings.unlink()
    run.launch.write_text("")
    run.log.write_text("Pictures 3\nnetwork.rank: -3 does not fit.\n\n")
    seen = look(run)
    assert (seen.state, seen.reason, seen.steps) == ("failed", "network.rank: -3 does not fit.", None)


def test_what_is_asked_while_a_run_is_loading_is_kept_and_what_was_asked_before_is_not(run: RunDirectory) -> None:
    (run.inbox / "stop").touch()
    with claimed(run):
        assert not Inbox(run.inbox).asked("stop")
        ask(run, "stop")
        assert is_held(run.lock)
        with pytest.raises(Problem, match="a process is at work on this run already"), claimed(run):
            pass
    assert Inbox(run.inbox).asked("stop")


def test_as_data_is_all_that_a_page_needs(run: RunDirectory) -> None:
    data = look(run).as_data()
    assert data["run"] == str(run.path)
    assert data["at_work"] is False
    assert {"state", "step", "steps", "loss", "seconds_left", "pid", "host", "saved", "reason"} <= data.keys()
