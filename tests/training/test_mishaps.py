"""What happens to people's disks, folders and clocks while a run is at work: clear words, and nothing is lost."""

import errno
import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator
from datetime import datetime, timedelta, timezone
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from tehon import disk
from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
from tehon.runs import record
from tehon.runs.layout import RunDirectory
from tehon.runs.read import read_json, rows, state_step, states
from tehon.training import assemble, session
from tehon.training.run import Outcome, resume_run, start_run
from tehon.training.state import read_state
from trainings import planned, quiet

Tree = dict[str, Any]


def at_step(number: int, act: Callable[[], object]) -> Callable[[str, dict[str, Any]], None]:
    """A watcher that does something after an update."""

    def watch(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == number:
            act()

    return watch


def body(lora: Path | None) -> str:
    assert lora is not None
    return read_header(lora).metadata["sshs_model_hash"]


def the_run(tree: Tree) -> RunDirectory:
    (path,) = Path(tree["output"]["folder"]).glob("runs/mine-2*")
    return RunDirectory(path)


def stopped(tree: Tree, step: int, **changes: dict[str, Any]) -> Outcome:
    return start_run(planned(tree, **changes), at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_one_signal_finishes_the_step_and_saves_and_a_second_ends_at_once(tree: Tree, number: signal.Signals) -> None:
    """`raise_signal`, since `os.kill` leaves to the system which thread gets a signal and when: two in a row may be
    taken for one."""
    told: list[str] = []

    def once(name: str, facts: dict[str, Any]) -> None:
        told.append(name)
        if name == "step":
            signal.raise_signal(number)

    outcome = start_run(planned(tree), once)
    assert (outcome.steps, [state_step(file) for file in states(outcome.run)]) == (1, [1])
    with pytest.raises(Problem, match=f"has not finished; go on with that by tehon resume {outcome.run.path}"):
        start_run(planned(tree, output={"save_every_n_steps": 1}), quiet)
    assert told.index("stopping") < told.index("state_saved"), "people are told that they were heard"

    def twice(name: str, facts: dict[str, Any]) -> None:
        once(name, facts)
        once(name, facts)

    def impatient(name: str, facts: dict[str, Any]) -> None:
        once(name, facts)
        if name == "stopping":  # while the first is still being told
            signal.raise_signal(number)

    for watch in (twice, impatient) if number == signal.SIGINT else ():  # the other one's second would end the tests
        with pytest.raises(KeyboardInterrupt):
            resume_run(outcome.run, watch)
        assert rows(outcome.run.events)[-1]["event"] == "interrupted"
        assert [state_step(file) for file in states(outcome.run)] == [1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_that_was_ignored_before_stays_so(tree: Tree, number: signal.Signals) -> None:
    """As by nohup, or by a shell that starts a training in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        outcome = start_run(planned(tree), lambda name, facts: signal.raise_signal(number))
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert outcome.lora is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
@pytest.mark.parametrize("phase", ["beginning", "loading", "encoding", "taking up a state"])
def test_one_signal_before_the_first_update_stops_at_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, phase: str
) -> None:
    """Nothing is to be finished or saved there; a second one is heard as by any program."""
    straight = body(start_run(planned(tree, output={"name": "straight"}), quiet).lora)
    told: list[str] = []

    def watch(name: str, facts: dict[str, Any]) -> None:
        told.append(name)
        if name == {"encoding": "encoding", "taking up a state": "started"}.get(phase):
            signal.raise_signal(number)
            raise AssertionError("it goes on")

    def choose(*facts: Any) -> str:
        signal.raise_signal(number)
        raise AssertionError("it goes on")

    begun = stopped(tree, 2).run if phase == "taking up a state" else None
    with monkeypatch.context() as patched:
        if phase == "loading":
            patched.setattr(assemble, "choose_attention", choose)
        if phase == "beginning":
            patched.setattr(session, "seeded", choose)
        outcome = start_run(planned(tree), watch) if begun is None else resume_run(begun, watch)
        assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    assert (outcome.lora, outcome.steps) == (None, 2 if begun else 0)
    assert rows(outcome.run.events)[-1]["event"] == told[-1] == "stopped"
    assert "stopping" not in told, "there is no step to be finished"
    assert body(resume_run(outcome.run, quiet).lora) == straight


def test_a_resume_with_other_settings_that_is_stopped_before_its_first_update_can_be_gone_on_with(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*facts: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    run = stopped(tree, 2).run
    with monkeypatch.context() as patched:
        patched.setattr(assemble, "choose_attention", stop)
        assert resume_run(run, quiet, {"optimizer.learning_rate": 3e-4}).lora is None
    assert "optimizer.learning_rate" in read_json(run.origin)["agreed"]
    assert resume_run(run, quiet).lora is not None
    assert "agreed" not in read_json(run.origin), "the state of the resume has these settings"


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_costs_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from the n-th write on, for each n: the run ends in a sentence about that, every state that is
    there is whole, and with room again the run ends with the bytes of the straight one."""
    tree["training"]["max_train_steps"] = 2
    tree["optimizer"] = {"text_encoder_lr": 0.0}  # the fewer layers learn, the faster are so many runs
    tree["output"] |= {"save_state_every_n_steps": 1, "save_every_n_steps": 1}
    tree["samples"] = {"prompts": "a --w 64 --h 64 --s 1", "every_n_steps": 1}
    straight = body(start_run(planned(tree, output={"name": "straight"}), quiet).lora)
    written, room = count(), 10**6

    def checked(aside: Path) -> None:
        if next(written) >= room:
            aside.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    def fill_whole(file: Path, fill: Callable[[Path], object]) -> None:
        real_fill(file, lambda aside: (checked(aside), fill(aside)))

    def append(file: Path, text: str, durable: bool = False) -> None:
        if next(written) >= room:
            real_append(file, text[: len(text) // 2])
            raise Problem("disk_full_at", path=file, free="0.0 MB")
        real_append(file, text, durable)

    real_fill, real_append = disk.fill_whole, disk.append
    for module in ("disk", "weights.slices", "training.previews"):
        monkeypatch.setattr(f"tehon.{module}.fill_whole", fill_whole)
    monkeypatch.setattr(record, "append", append)
    ends: list[str] = []
    while not ends or ends[-1]:
        shutil.rmtree(tree["output"]["folder"], ignore_errors=True)
        written, room = count(), len(ends)
        try:
            start_run(planned(tree), quiet)
            ends.append("")
        except Problem as problem:
            ends.append(str(problem))
        room = 10**6
        found = [one for one in Path(tree["output"]["folder"]).glob("runs/mine-2*") if (one / "settings.toml").exists()]
        for run in map(RunDirectory, found):
            assert not list(run.path.rglob("*.tehon-*")), "what could not be written whole is taken away"
            for file in states(run):
                read_state(file)
            if ends[-1]:
                assert body(resume_run(run, quiet).lora) == straight
    assert len(ends) > 20
    assert all("the disk is full" in text and "what was there before is unharmed" in text for text in ends[:-1])


@pytest.fixture
def read_only(tmp_path: Path) -> Generator[Callable[[Path], None], None, None]:
    """Makes a folder one that nobody can write; for root that takes a mount."""
    undo: list[Callable[[], object]] = []

    def make(folder: Path) -> None:
        if os.geteuid():
            folder.chmod(0o555)
            undo.append(lambda: folder.chmod(0o755))
            return
        for words in (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)]):
            if subprocess.run(["mount", *words], capture_output=True, check=False).returncode:
                pytest.skip("root writes everywhere, and may not mount here")
            undo.append(lambda: subprocess.run(["umount", str(folder)], capture_output=True, check=False))

    yield make
    for one in undo:
        one()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows' permissions are others")
def test_a_place_that_cannot_be_written_is_said_and_left_as_it_was(
    tree: Tree, read_only: Callable[[Path], None]
) -> None:
    folder = Path(tree["output"]["folder"])
    run = stopped(tree, 2).run
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    read_only(folder)
    with pytest.raises(Problem, match=r"output\.folder: .*out cannot be written \(.*\); choose another folder"):
        start_run(planned(tree, output={"name": "other"}), quiet)
    with pytest.raises(
        Problem, match=r"cannot be written \(.*\), and what was there before is unharmed; make the fold"
    ):
        resume_run(run, quiet)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "error",
    [RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError("CUDA out of memory")],
    ids=["cpu", "cuda"],
)
def test_too_little_memory_is_a_sentence_that_leads_on(tree: Tree, error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(Problem) as told:
        start_run(planned(tree), at_step(2, fail))
    run = the_run(tree)
    assert str(told.value) == (
        "training.device: the memory of cpu is too small for this training; go on by tehon resume "
        f"{run.path} with a smaller --data.batch_size, with --memory.gradient_checkpointing whole, or with "
        "a smaller --data.resolution and --allow-changes data."
    )
    last = rows(run.events)[-1]
    assert (last["event"], last["reason"]) == ("failed", str(told.value))
    less = {"data.batch_size": 1, "memory.gradient_checkpointing": "whole"}
    assert resume_run(run, at_step(3, lambda: (run.inbox / "stop").touch()), less).lora is None
    options: Tree = {"data.resolution": 64}
    outcome = resume_run(run, quiet, options | {"training.max_train_steps": 3}, ["data"])
    assert (outcome.steps, outcome.lora is not None) == (3, True)


def test_a_run_goes_on_into_an_output_folder_that_is_made_for_it(tree: Tree, tmp_path: Path) -> None:
    run = stopped(tree, 1, training={"max_train_steps": 2}).run
    new = tmp_path / "new" / "out"
    new.parent.write_text("a file where the folder should be")
    with pytest.raises(Problem, match=r"^output\.folder: .* cannot be written \(Not a directory\)"):
        resume_run(run, quiet, {"output.folder": str(new)})
    new.parent.unlink()
    assert resume_run(run, quiet, {"output.folder": str(new)}).lora == new / "mine.safetensors"


def test_an_output_folder_that_vanishes_is_a_sentence(tree: Tree) -> None:
    """As a disk that is unplugged."""
    folder = Path(tree["output"]["folder"])
    tree["output"] |= {"save_every_n_steps": 1, "save_last_n_steps": 1}
    with pytest.raises(Problem, match=r"out/.* cannot be written \(No such file or directory\)"):
        start_run(planned(tree), at_step(2, lambda: shutil.rmtree(folder)))


def test_a_data_folder_that_vanishes_costs_no_step(tree: Tree) -> None:
    """It is back with the disk that it is on, and the run goes on as if nothing had been."""
    changes: Tree = {"feed": {"cache_latents": False}, "training": {"epochs": 2}}
    straight = start_run(planned(tree, **changes, output={"name": "straight"}), quiet)
    folder = Path(tree["data"]["folder"])
    with pytest.raises(Problem, match=r"0\d\.png: the picture cannot be read"):
        start_run(planned(tree, **changes), at_step(2, lambda: folder.rename(folder.with_name("away"))))
    run = the_run(tree)
    assert state_step(states(run)[0]) == rows(run.metrics)[-1]["step"] >= 2
    with pytest.raises(Problem, match=r"data\.folder: the folder .*pictures does not exist"):
        resume_run(run, quiet)
    folder.with_name("away").rename(folder)
    assert body(resume_run(run, quiet).lora) == body(straight.lora)


def test_clocks_that_go_backwards_change_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every time that is asked is an hour before the last one, and the files come from the future."""
    tree["output"]["save_state_every_n_steps"] = 1
    straight = start_run(planned(tree, output={"name": "straight"}), quiet)
    hours = count()

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2020, 1, 1, tzinfo=timezone.utc) - timedelta(hours=next(hours))

    for module in ("runs.layout", "runs.record", "training.previews", "training.observers"):
        monkeypatch.setattr(f"tehon.{module}.datetime", Backwards)
    monkeypatch.setattr("time.time", lambda: 1577836800.0 - 3600 * next(hours))
    run = RunDirectory(stopped(tree, 2).run.path)
    future = 4102444800
    for file in (*Path(tree["data"]["folder"]).rglob("*.*"), *states(run)):
        os.utime(file, (future, future))
        future -= 3600
    resumed = resume_run(run, quiet)
    assert body(resumed.lora) == body(straight.lora)
    assert [row["step"] for row in rows(run.metrics)] == [1, 2, 3, 4]


def test_a_state_with_numbers_that_are_not_finite_is_neither_saved_nor_gone_on_from(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree["output"]["save_state_every_n_steps"] = 1
    straight = start_run(planned(tree), quiet)
    before = body(straight.lora)
    assert straight.lora is not None
    straight.lora.unlink()
    from tehon.training.state import save_state

    class Holder:
        def __init__(self, saved: dict[str, Any]) -> None:
            self.saved, self.device = saved, torch.device("cpu")

        def state_dict(self) -> dict[str, Any]:
            return self.saved

    newest = states(straight.run)[0]
    saved = read_state(newest)
    saved["weights"][3] = float("nan")
    save_state(Holder(saved), newest, saved["about"])  # type: ignore[arg-type]
    told: list[str] = []
    resumed = resume_run(straight.run, lambda name, facts: told.append(facts.get("text", "")))
    assert (
        f"The state {newest} holds numbers that are not finite; the run goes on from the one before it, of step 3."
        in told
    )
    assert body(resumed.lora) == before

    from tehon.training import loop

    def spoil(optimizer: Any, rates: Any) -> None:
        real(optimizer, rates)
        with torch.no_grad():
            optimizer.param_groups[0]["params"][0][0] = float("inf")

    real = loop.update
    monkeypatch.setattr(loop, "update", spoil)
    with pytest.raises(Problem, match="step 1: the trained weights are no longer finite numbers"):
        start_run(planned(tree, output={"name": "other"}), quiet)
    assert not list(Path(tree["output"]["folder"]).glob("runs/other-2*/state/*"))


def test_a_state_of_another_version_is_said_and_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """Which would be passed over, and removed."""
    lacking = io.BytesIO()
    torch.save({"step": 3, "weights": torch.zeros(2)}, lacking)
    file = tmp_path / "step-00000003.pt"
    for version, content in (("2", b"any"), ("1", b"no pickle of this torch"), ("1", lacking.getvalue())):
        file.write_bytes(f"tehon-state {version} {blake2b(content, digest_size=32).hexdigest()}\n".encode() + content)
        with pytest.raises(Problem, match="another version has written this state in a form that is not read here"):
            read_state(file)


def test_a_run_that_was_moved_goes_on_where_it_is(tree: Tree, tmp_path: Path) -> None:
    straight = start_run(planned(tree, output={"name": "straight"}), quiet)
    old = Path(tree["output"]["folder"])
    run = stopped(tree, 2).run
    (tmp_path / "disk").mkdir()
    run.inbox.rmdir()  # some programs leave out empty folders
    new = old.rename(tmp_path / "disk" / "new")
    told: list[str] = []
    resumed = resume_run(
        RunDirectory(new / "runs" / run.path.name), lambda name, facts: told.append(facts.get("text", ""))
    )
    assert told[0].startswith(f"This run was moved: from now on its LoRAs go into {new};")
    assert resumed.lora == new / "mine.safetensors"
    assert body(resumed.lora) == body(new / "straight.safetensors")
    assert straight.lora is not None
    assert not old.exists()


def test_junk_in_the_inbox_and_the_records_harms_nothing(tree: Tree) -> None:
    straight = start_run(planned(tree, output={"name": "straight"}), quiet)
    run = stopped(tree, 2).run
    for name in ("stop", "save", "preview"):
        (run.inbox / name).mkdir()
    (run.inbox / "STOP.txt").write_text("please")
    for file in (run.events, run.metrics, run.samples):
        with file.open("ab") as stream:
            stream.write(b'\xff\x00\n[1, 2]\n"text"\n{}\n{"step": 1, "lo')
    (run.state / "step-x.pt").write_bytes(b"")
    (run.state / "notes.txt").write_text("mine")
    assert body(resume_run(run, quiet).lora) == body(straight.lora)
    assert (run.state / "notes.txt").exists()
