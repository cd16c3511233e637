"""Several processes that train together, over Gloo on this machine: what they learn, and what becomes of the others
when one is gone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file

import tehon
from tehon.catalog.header import read_header
from tehon.cli.main import main
from tehon.data.plan.epochs import Batch, Read
from tehon.runs.heartbeat import Heartbeat
from tehon.runs.layout import RunDirectory
from tehon.runs.read import read_json, rows, state_step, states
from tehon.runs.status import look
from tehon.training import follow, loop
from tehon.training.process_group import Alone, own_share

Tree = dict[str, Any]
pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="these processes are forked, so that they start at once"
)
MANY: Tree = {"data": {"batch_size": 2}, "training": {"epochs": 3}}
STEADY: Tree = {"optimizer": {"name": "AdamW"}, "output": {"save_precision": "float"}}


@pytest.fixture
def tree(tree: Tree, album: Callable[..., Path], tmp_path: Path) -> Tree:
    """Eight readings an epoch in two buckets: batches of four, of one and of three."""
    shutil.rmtree(tmp_path / "pictures")
    album({"1_thing": [(64, 64)] * 5 + [(96, 64)] * 3})
    return tree


class Process:
    """A forked process with what it says; `rank` of `count` of one training."""

    def __init__(self, folder: Path, words: list[str], rank: int, count: int, port: int) -> None:
        self.said = folder / f"said-{rank}-{port}.txt"
        self.code: int | None = None
        self.number = os.fork()
        if not self.number:
            self._be(words, rank, count, port)

    def _be(self, words: list[str], rank: int, count: int, port: int) -> None:
        code = 99
        try:
            os.setsid()
            out = os.open(self.said, os.O_WRONLY | os.O_CREAT)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
            for known in (signal.SIGINT, signal.SIGTERM):
                signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
            places = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            os.environ |= {name: str(value) for name, value in places.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            code = main(words)
        finally:
            os._exit(code)

    def ended(self) -> int:
        """Waits for its end, no longer than a minute: its exit code, or the negative number of the signal."""
        until = time.monotonic() + 60
        while self.code is None:
            found, status = os.waitpid(self.number, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                os.kill(self.number, signal.SIGKILL)
                raise AssertionError(f"it goes on: {self.words}")
            else:
                time.sleep(0.02)
        return self.code

    @property
    def words(self) -> str:
        return self.said.read_text("utf8")


Launch = Callable[..., list[Process]]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """launch(["train", …], count) starts that many processes of one training."""
    started: list[Process] = []

    def start(words: list[str], count: int = 2) -> list[Process]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        found = [Process(tmp_path, words, rank, count, port) for rank in range(count)]
        started.extend(found)
        return found

    yield start
    for process in started:
        if process.code is None:
            os.kill(process.number, signal.SIGKILL)
            os.waitpid(process.number, 0)


def written(tree: Tree, tmp_path: Path, name: str, *changes: Tree) -> list[str]:
    """The words that train these settings under a name of their own."""
    for change in (STEADY, *changes, {"output": {"name": name}}):
        tree = {section: tree.get(section, {}) | change.get(section, {}) for section in tree | change}
    file = tmp_path / f"{name}.toml"
    file.write_text(tomli_w.dumps(tree))
    return ["train", str(file), "--quiet"]


def run_of(tmp_path: Path, name: str) -> RunDirectory:
    (path,) = (tmp_path / "out" / "runs").glob(f"{name}-2*")
    return RunDirectory(path)


def files_of(tmp_path: Path, name: str) -> list[str]:
    """All that a run wrote, without its name."""
    run = run_of(tmp_path, name).path
    inside = [str(file.relative_to(run)).replace(name, "") for file in run.rglob("*")]
    return sorted([*inside, *(file.name.replace(name, "") for file in (tmp_path / "out").glob(f"{name}*"))])


def difference(one: Path, other: Path) -> float:
    """The largest between two files' tensors."""
    tensors, others = load_file(one), load_file(other)
    assert tensors.keys() == others.keys()
    return max(float((tensor - others[name]).abs().max()) for name, tensor in tensors.items())


def moved(lora: Path) -> float:
    return max(float(tensor.abs().max()) for name, tensor in load_file(lora).items() if "up" in name)


def codes(processes: list[Process]) -> list[int]:
    return [process.ended() for process in processes]


CASES: dict[str, tuple[int, Tree]] = {
    "batches of two and short ones": (2, {}),
    "accumulation, no cache": (
        2,
        {"training": {"gradient_accumulation_steps": 3}, "feed": {"cache_latents": False}},
    ),
    "three processes, stratified times, dropout": (
        3,
        {"objective": {"stratified_timesteps": True}, "network": {"dropout": 0.2}, "data": {"batch_size": 1}},
    ),
    "a cache on disk": (2, {"feed": {"cache_latents_to_disk": True}}),
}


@pytest.mark.parametrize("name", CASES)
def test_processes_learn_what_one_does_with_batches_as_large_as_all_theirs(
    tree: Tree, tmp_path: Path, launch: Launch, name: str
) -> None:
    count, case = CASES[name]
    several = launch(written(tree, tmp_path, "several", MANY, case), count)
    assert codes(several) == [0] * count, several[0].words
    each = (MANY | case)["data"]["batch_size"]
    whole = {"data": {"batch_size": count * each}}
    own_cache = {"feed": case.get("feed", {}) | ({"cache_folder": str(tmp_path)} if "disk" in name else {})}
    assert main(written(tree, tmp_path, "one", MANY, case, whole, own_cache)) == 0
    one, other = tmp_path / "out" / "one.safetensors", tmp_path / "out" / "several.safetensors"
    assert difference(one, other) < 1e-5
    assert moved(one) > 1e-4, "what has not moved says nothing"
    losses = [[row["loss"] for row in rows(run_of(tmp_path, run).metrics)] for run in ("one", "several")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert [process.words for process in several[1:]] == [""] * (count - 1), "only the first one speaks"
    assert files_of(tmp_path, "several") == files_of(tmp_path, "one")
    told = [[row["event"] for row in rows(run_of(tmp_path, run).events)] for run in ("one", "several")]
    assert told[0] == told[1]
    facts = read_header(other).metadata
    assert (facts["ss_batch_size_per_device"], facts["ss_total_batch_size"]) == (str(each), str(count * each))


def test_a_run_goes_on_with_another_number_of_processes_as_if_nothing_had_happened(
    tree: Tree, tmp_path: Path, launch: Launch
) -> None:
    every = {"output": {"save_state_every_n_steps": 1, "save_last_n_states": 9}}
    assert codes(launch(written(tree, tmp_path, "straight", MANY, every))) == [0, 0]
    run, lora = run_of(tmp_path, "straight"), tmp_path / "out" / "straight.safetensors"
    kept = tmp_path / "kept.safetensors"
    kept.write_bytes(lora.read_bytes())
    for count in (1, 3):
        for file in states(run):
            if state_step(file) > 4:
                file.unlink()
        lora.unlink()
        if count == 1:
            assert main(["resume", str(run.path), "--quiet"]) == 0
        else:
            assert (
                codes(launch(["resume", str(run.path), "--quiet", "--output.save_last_n_states", "8"], count))
                == [0] * 3
            )
        assert [row["step"] for row in rows(run.metrics)] == list(range(1, 10))
        assert difference(lora, kept) < 1e-5
    assert main(written(tree, tmp_path, "alone", MANY, every, {"data": {"batch_size": 4}})) == 0
    run, lora = run_of(tmp_path, "alone"), tmp_path / "out" / "alone.safetensors"
    for file in states(run):
        if state_step(file) > 5:
            file.unlink()
    lora.unlink()
    assert codes(launch(["resume", str(run.path), "--quiet"])) == [0, 0]
    assert difference(lora, kept) < 1e-5


LONG: Tree = {"training": {"epochs": 500}, "optimizer": {"lr_scheduler": "constant"}}


def at_work(tmp_path: Path, processes: list[Process]) -> RunDirectory:
    """The run, when it has made some updates."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = list((tmp_path / "out" / "runs").glob("long-2*"))
        if found and len(rows(RunDirectory(found[0]).metrics)) > 3:
            return RunDirectory(found[0])
        time.sleep(0.05)
    raise AssertionError(processes[0].words)


def test_a_signal_to_one_process_stops_all_after_the_same_update(tree: Tree, tmp_path: Path, launch: Launch) -> None:
    processes = launch(written(tree, tmp_path, "long", MANY, LONG))
    run = at_work(tmp_path, processes)
    os.kill(processes[1].number, signal.SIGTERM)
    os.kill(processes[1].number, signal.SIGTERM)  # as a launcher sends one after the terminal's
    assert codes(processes) == [3, 3], processes[1].words
    status = look(run)
    assert (status.state, status.step) == ("stopped", status.saved)
    assert codes(launch(["resume", str(run.path), "--quiet", "--training.max_train_steps", str(status.step + 2)])) == [
        0,
        0,
    ]
    assert look(run).state == "finished"


def test_a_request_in_the_inbox_stops_all(tree: Tree, tmp_path: Path, launch: Launch) -> None:
    processes = launch(written(tree, tmp_path, "long", MANY, LONG))
    run = at_work(tmp_path, processes)
    assert main(["stop", str(run.path)]) == 0
    assert codes(processes) == [3, 3]
    assert look(run).state == "stopped"


def test_a_request_while_pictures_are_encoded_stops_all(
    tree: Tree, tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Heartbeat.tell

    def asked(heartbeat: Heartbeat, phase: str, **facts: Any) -> None:
        tell(heartbeat, phase, **facts)
        if phase == "encoding":
            RunDirectory(heartbeat.file.parent).inbox.joinpath("stop").touch()

    monkeypatch.setattr(Heartbeat, "tell", asked)
    processes = launch(written(tree, tmp_path, "early", MANY, {"feed": {"vae_batch_size": 1}}))
    assert codes(processes) == [3, 3], processes[1].words
    assert processes[1].words == ""
    run = run_of(tmp_path, "early")
    status = look(run)
    assert (status.state, status.step, read_json(run.progress)["done"]) == ("stopped", 0, 2)
    monkeypatch.undo()
    assert codes(launch(["resume", str(run.path), "--quiet"])) == [0, 0]


def test_a_signal_to_one_process_before_the_first_update_stops_all(
    tree: Tree, tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def assemble(*facts: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*facts, **more)

    real = follow.assemble
    monkeypatch.setattr(follow, "assemble", assemble)
    for name, feed in (("encoding", {}), ("learning", {"cache_latents": False})):
        processes = launch(written(tree, tmp_path, name, MANY, {"feed": feed}))
        assert codes(processes) == [3, 3], processes[1].words
        status = look(run_of(tmp_path, name))
        assert (status.state, status.step, rows(status.run.metrics)) == ("stopped", 0, [])


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_other_says_so_and_ends(
    tree: Tree, tmp_path: Path, launch: Launch, victim: int
) -> None:
    processes = launch(written(tree, tmp_path, "long", MANY, LONG))
    run = at_work(tmp_path, processes)
    os.kill(processes[victim].number, signal.SIGKILL)
    other = processes[1 - victim]
    assert (processes[victim].ended(), other.ended()) == (-9, 2)
    said = [line for line in other.words.splitlines() if line.startswith("Another")]
    assert len(said) == 1
    assert "of the 2 processes of this training is gone or silent, so this one ends too" in said[0]
    assert "Traceback" not in other.words
    status = look(run)
    if victim == 0:
        assert status.state == "died"
    else:
        assert (status.state, status.reason) == ("failed", said[0])
        assert status.saved == status.step, "no update is lost that was made by all"


def test_too_little_memory_in_another_process_is_the_sentence_that_the_first_would_say(
    tree: Tree, tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(optimizer: Any, rates: Any) -> None:
        if os.environ["RANK"] == "1":
            raise torch.OutOfMemoryError("CUDA out of memory")
        update(optimizer, rates)

    update = loop.update
    monkeypatch.setattr(loop, "update", fail)
    processes = launch(written(tree, tmp_path, "small", MANY))
    assert codes(processes) == [2, 2]
    run = run_of(tmp_path, "small")
    said = processes[1].words.splitlines()[-1]
    assert said.startswith("training.device: the memory of cpu is too small for this training; go on by tehon resume")
    assert str(run.path) in said
    assert not any("Traceback" in process.words for process in processes)
    assert look(run).state == "failed"


def test_pieces_are_no_larger_than_planned_whatever_the_number_of_processes() -> None:
    class Some(Alone):
        def __init__(self, rank: int, count: int) -> None:
            self.rank, self.count = rank, count

    for reads in range(1, 13):
        batches = [Batch((64, 64), tuple(Read(number, 0) for number in range(reads)))] * 2
        for processes in range(1, 5):
            most = -(-reads // processes)
            for count in range(1, 7):
                found = [
                    (first, read.picture)
                    for rank in range(count)
                    for first, piece in own_share(Some(rank, count), processes, batches)
                    for first, read in enumerate(piece.reads, first)
                    if len(piece.reads) <= most
                ]
                assert sorted(found) == [(number, number % reads) for number in range(2 * reads)]


@pytest.mark.slow
def test_torchrun_starts_it_and_ends_it_when_one_process_is_killed(tree: Tree, tmp_path: Path) -> None:
    words = written(tree, tmp_path, "long", MANY, LONG)
    env = {**os.environ, "PYTHONPATH": str(Path(tehon.__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tehon", *words]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as launcher:
        try:
            run = at_work(tmp_path, [])
            first = read_json(run.progress)["pid"]
            children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
            os.kill(next(int(number) for number in children if int(number) != first), signal.SIGKILL)
            said, _ = launcher.communicate(timeout=60)
        finally:
            launcher.kill()
    assert launcher.returncode == 1
    assert said.count("Another of the 2 processes") == 1
    assert look(run).state == "failed"


def test_places_that_make_no_sense_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "x.toml"]) == 2
    assert "does not say which process this is (RANK=2 WORLD_SIZE=2)" in capsys.readouterr().err
