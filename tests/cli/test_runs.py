"""What people see of runs and of the queue, and what they are told when they ask for what is not there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import tomli_w

import tehon
from tehon.cli.main import main
from tehon.runs.claim import claimed
from tehon.runs.heartbeat import Heartbeat
from tehon.runs.known import remember
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding, is_held
from tehon.runs.queue import Queue
from tehon.runs.record import append_rows, event
from tehon.runs.status import look
from tehon.settings.files import load_settings


@pytest.fixture
def config(tree: dict[str, Any], tmp_path: Path) -> str:
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tree), "utf8")
    return str(file)


def make(tmp_path: Path, name: str, *events: dict[str, Any]) -> RunDirectory:
    run = RunDirectory(tmp_path / "out" / "runs" / name)
    run.make()
    run.settings.write_text("")
    append_rows(run.events, [event("opened"), event("started", steps=400), *events])
    append_rows(run.metrics, [{"step": 120, "epoch": 3, "loss": 0.12345}])
    remember(tmp_path / "out")
    return run


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err


def test_runs_are_listed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["runs"], capsys) == "There are no runs.\n"
    make(tmp_path, "cat-20260101-000000", event("finished", path="x"))
    make(tmp_path, "dog-20260102-000000", event("failed", reason="the card has [no] memory left"))
    alive = make(tmp_path, "owl-20260103-000000")
    with claimed(alive):
        Heartbeat(alive.progress).tell("training", step=120, steps=400, loss=0.5, seconds_per_step=13.0)
        lines = [" ".join(line.split()) for line in told(["runs"], capsys).splitlines()]
        assert lines[0] == "Run State Steps Loss Left"
        assert lines[2:] == [
            "owl-20260103-000000 training 120/400 30 % 0.5000 1:00:40",
            "dog-20260102-000000 failed 120/400 30 % 0.1235",
            "cat-20260101-000000 finished 120/400 30 % 0.1235",
            "dog-20260102-000000: the card has [no] memory left",
        ]
    data = json.loads(told(["runs", str(tmp_path / "out"), "--json"], capsys))
    assert [row["state"] for row in data] == ["died", "failed", "finished"]
    assert data[0]["run"] == str(alive.path)
    assert "cannot be listed" in refused(["runs", str(tmp_path / "none")], capsys)


def test_a_run_is_removed_by_its_full_name_after_it_was_said_what_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = (make(tmp_path, f"cat-2026010{day}-000000", event("stopped")) for day in (1, 2))
    (run.weights / "cat.safetensors").write_bytes(b"x" * 1_500_000)
    run.lock.touch()
    said = refused(["runs", "--remove", run.path.name], capsys)
    assert said.startswith(f"{run.path} would go for good: 5 files, 1.5 MB, 1 LoRA among them;")
    assert said.endswith("Add --yes to remove it.\n")
    assert "give the directory's own name, as cat-20260102-000000" in refused(["runs", "--remove", "cat"], capsys)
    assert "no run of this name" in refused(["runs", "--remove", run.path.name, "dog", "--yes"], capsys)
    assert "it goes with --remove" in refused(["runs", "--yes"], capsys)
    assert run.path.exists()
    assert told(["runs", "--remove", str(run.path), "--yes"], capsys) == f"Removed: {run.path}\n"
    assert (run.path.exists(), other.path.exists()) == (False, True)


def test_many_runs_are_cut_to_the_newest_and_those_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make(tmp_path, f"cat-202601{day:02d}-000000") for day in range(1, 31)]
    with claimed(runs[0]):
        shown = told(["runs"], capsys)
    assert "cat-20260101-000000" in shown
    assert "cat-20260111-000000" in shown
    assert "cat-20260110-000000" not in shown
    assert "9 older ones are listed with --all." in shown
    assert "cat-20260110-000000" in told(["runs", "--all"], capsys)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_fits_its_terminal_and_names_give_way_to_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, language: str, width: int
) -> None:
    from rich.cells import cell_len

    monkeypatch.setenv("TEHON_LANG", language)
    monkeypatch.setattr("tehon.cli.tables._PIPED", width)
    run = make(tmp_path, f"{'猫とa-long-name-' * 4}-20260101-000000")
    with claimed(run):
        Heartbeat(run.progress).tell("training", step=12345, steps=40000, loss=0.5, seconds_per_step=13.0)
        lines = told(["runs"], capsys).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert "12345/40000" in lines[2]
    assert "99:51:55" in lines[2]


def test_stop_save_and_preview_leave_their_wish_or_say_that_nobody_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path, "cat-20260101-000000", event("stopped"))
    for words in (["stop"], ["stop", "--now"], ["save"], ["preview"]):
        assert refused([*words, "cat"], capsys).endswith("start it with tehon resume.\n")
        assert "no run of this name is known" in refused([*words, "dog"], capsys)
        assert "this is not a run directory" in refused([*words, str(tmp_path)], capsys)
    with claimed(run):
        assert f"{run.path} saves its state" in told(["stop", "cat"], capsys)
        assert str(run.state) in told(["save", run.path.name], capsys)
        told(["preview", str(run.path)], capsys)
    assert sorted(file.name for file in run.inbox.iterdir()) == ["preview", "save", "stop"]


def test_the_queue_is_added_to_listed_moved_and_emptied(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(["queue", "list"], capsys) == "The queue is empty.\n"
    assert told(["queue", "add", config], capsys).startswith("Job 1: mine, 4 steps.")
    told(["queue", "add", config, "--output.name", "b", "--training.epochs", "3"], capsys)
    assert "queue_added" not in told(["queue", "add", config, "--output.name=c"], capsys)
    lines = [line.split() for line in told(["queue", "move", "3", "first"], capsys).splitlines()]
    assert lines[2:5] == [[n, name, "waiting", "cpu"] for n, name in (("3", "c"), ("1", "mine"), ("2", "b"))]
    assert " ".join(lines[5]) == "Nobody works on the queue; start with: tehon queue start"
    with holding(Queue().worker_lock("cuda:1")), holding(Queue().worker_lock("cpu")):
        assert told(["queue", "list"], capsys).endswith("At work on the queue: cpu, cuda:1.\n")
    assert told(["queue", "move", "3", "last"], capsys).splitlines()[2].split()[0] == "1"
    rows = json.loads(told(["queue", "list", "--json"], capsys))
    assert [(row["number"], row["state"], row["status"]) for row in rows] == [(n, "waiting", None) for n in (1, 2, 3)]
    told(["queue", "remove", "1", "2", "3"], capsys)
    assert told(["queue", "remove", "--ended"], capsys) == "The queue is empty.\n"
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    assert told(["queue", "start", "--device", "cpu"], capsys) == "The queue is done.\n"
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_paused_queue_says_so_until_it_is_resumed(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    paused = "The queue is paused: no job is begun. Go on with: tehon queue resume\n"
    assert told(["queue", "pause"], capsys) == paused
    assert paused.strip() in told(["queue", "add", config], capsys)
    assert told(["queue", "list"], capsys).endswith(paused)
    assert "paused" not in told(["queue", "resume"], capsys)


def test_a_queued_job_is_as_it_was_when_it_was_added(
    config: str, tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Whatever becomes of the file and of the folder that the command was given in; what was left open still is."""
    monkeypatch.chdir(tmp_path)
    told(["queue", "add", Path(config).name, "--network.rank", "3", "--output.folder", "here"], capsys)
    Path(config).write_text("gone")
    (job,) = Queue().jobs()
    held = load_settings(Queue().settings_of(job), {})
    assert (held.network.rank, held.output.folder) == (3, str(tmp_path / "here"))
    assert (held.training.seed, held.data.folder) == (5, tree["data"]["folder"])
    assert (held.optimizer.unet_lr, held.training.max_train_epochs) == (None, None)


def test_a_failed_job_says_why_until_it_waits_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(tmp_path, "cat-20260101-000000", event("failed", reason="the card has [no] memory left"))
    queue = Queue()
    job = queue.add("", "cat", tmp_path / "out", "auto")
    queue.update(job, state="ended", worker="cuda:0", run=str(run.path))
    lines = [" ".join(line.split()) for line in told(["queue", "list"], capsys).splitlines()]
    assert lines[2:] == ["1 cat failed 120/400 30 % 0.1235 cuda:0", "Job 1: the card has [no] memory left"]
    lines = [" ".join(line.split()) for line in told(["queue", "retry", "1"], capsys).splitlines()]
    assert lines[2] == "1 cat waiting 120/400 30 % 0.1235 auto"
    rmtree(run.path)
    queue.update(job, state="ended")
    assert told(["queue", "list"], capsys).splitlines()[2].split()[2:4] == ["directory", "gone"]


WRONG: dict[str, tuple[list[str], str]] = {
    "a place that is none": (["move", "1", "0"], "0: this is no place in the queue"),
    "a place in words": (["move", "1", "second"], "second: this is no place"),
    "a job that is none": (["move", "7", "1"], "7: there is no such job"),
    "no job": (["remove"], "Name the jobs to remove"),
    "to remove a job that is none": (["remove", "1", "7"], "7: there is no such job"),
    "to retry what waits": (["retry", "1"], "1: this job waits already"),
    "a device that is none": (["start", "--device", "tpu"], "tpu: a worker has no such device"),
    "a card that is none": (["start", "--device", "cuda:x"], "cuda:x: a worker has no such device"),
    "a card that is not there": (["start", "--device", "cuda:99"], "cuda:99: this machine has no such device"),
    "a setting where none belongs": (["list", "--network.rank", "3"], "--network.rank: "),
    "the same LoRA twice": (["add", "mine.toml"], "output.name: job 1 is to write LoRAs named mine into"),
    "settings that don't fit": (["add", "mine.toml", "--network.rank", "-3"], "network.rank: -3 does not fit"),
    "a file that is none": (["add", "other.toml"], "other.toml: there is no such file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_wish_to_the_queue_is_one_sentence(
    name: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told(["queue", "add", config], capsys)
    words, start = WRONG[name]
    err = refused(["queue", *words], capsys)
    assert err.startswith(start)
    assert err.count("\n") == 1
    assert len(Queue().jobs()) == 1


def test_a_lora_that_exists_is_said_when_the_job_is_added(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.safetensors").touch()
    assert "mine.safetensors exists already" in refused(["queue", "add", config], capsys)
    assert told(["queue", "add", config, "--output.overwrite"], capsys).startswith("Job 1")


def test_a_device_that_cannot_be_seen_is_not_taken_for_the_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tehon.cli.queue._WHICH", "raise OSError('no driver')")
    assert refused(["queue", "start"], capsys).startswith(
        "PyTorch could not say which devices there are (OSError: no driver)"
    )


@pytest.mark.slow
def test_a_run_in_the_background_is_seen_saved_stopped_gone_on_with_and_ended(
    config: str, nano: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tehon.__file__).parents[1]))
    assert main(["train", config, "--model.path", str(nano), "--background", "--json", "--training.epochs", "200"]) == 0
    launched = json.loads(capsys.readouterr().out)
    run = RunDirectory(Path(launched["run"]))
    assert os.getsid(launched["pid"]) == launched["pid"], "the end of our terminal is not its end"
    (row,) = json.loads(told(["runs", "--json"], capsys))
    assert (row["at_work"], row["pid"], row["steps"]) == (True, launched["pid"], 800)
    until(lambda: look(run).state == "training")
    told(["save", "mine"], capsys)
    until(lambda: list(run.weights.glob("mine-step*.safetensors")))
    assert told(["stop", "mine", "--wait"], capsys).endswith("stopped\n")
    assert not is_held(run.lock)
    (row,) = json.loads(told(["runs", "--json"], capsys))
    assert row["state"] == "stopped"
    assert 1 <= row["saved"] == row["step"] < 800

    caption = next(tmp_path.rglob("[0-9]*.txt"))
    told_before = caption.read_text("utf8")
    caption.write_text("something else", "utf8")
    problem = refused(["resume", "mine", "--background"], capsys)
    assert "the run did not start" in problem
    assert "--allow-changes" in problem
    caption.write_text(told_before, "utf8")
    assert main(["resume", "mine", "--background", "--json", "--training.epochs", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == look(run).pid
    until(lambda: look(run).state == "training")
    assert f"go on with: tehon resume {run.path}" in told(["stop", "mine", "--now"], capsys)
    until(lambda: not is_held(run.lock))
    (row,) = json.loads(told(["runs", "--json"], capsys))
    assert (row["state"], row["steps"]) == ("stopped", 400)

    assert "network.rank: 0 does not fit" in (refused(["train", config, "--background", "--network.rank", "0"], capsys))
    words = [sys.executable, "-m", "tehon", "train", str(run.settings), "--run", str(tmp_path)]
    done = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "was not made for a run" in done.stderr) == (2, True)
