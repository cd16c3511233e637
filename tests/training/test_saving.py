"""What a run leaves on the disk: LoRAs and states when they are due, and nothing damaged when it can't be written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tehon
from tehon.catalog.header import read_header
from tehon.disk import fill_whole
from tehon.messages.problem import Problem
from tehon.planning.saves import bytes_of_lora, bytes_of_state
from tehon.runs.read import rows, state_step, states
from tehon.settings.files import to_toml
from tehon.training.assemble import assemble
from tehon.training.optimizers import update
from tehon.training.run import Outcome, resume_run, start_run
from tehon.training.state import save_state
from trainings import planned, quiet

Tree = dict[str, Any]


def run(tree: Tree, **changes: dict[str, Any]) -> Outcome:
    return start_run(planned(tree, **changes), quiet)


def metadata(file: Path) -> tuple[str, str]:
    found = read_header(file).metadata
    return found["ss_steps"], found["ss_epoch"]


SIZES: dict[str, Tree] = {
    "plain": {},
    "average": {"training": {"ema_decay": 0.99}},
    "bf16": {"precision": {"mixed_precision": "bf16", "full_bf16": True}},
    "lora_fa": {"network": {"kind": "lora_fa"}},
    "dylora": {"network": {"kind": "dylora"}},
    "adafactor": {"optimizer": {"name": "Adafactor"}},
    "prodigy": {
        "optimizer": {"name": "Prodigy", "learning_rate": 1.0, "text_encoder_lr": 1.0},
        "training": {"ema_decay": 0.99},
    },
}


@pytest.mark.parametrize("name", SIZES)
def test_the_size_of_a_state_is_known_before(tree: Tree, tmp_path: Path, name: str) -> None:
    """What is added to the state changes the estimate by as much, to a few percent of the file."""
    tree |= {"network": {"rank": 16, "alpha": 16.0}, "optimizer": {"name": "AdamW"}}
    plan = planned(tree, **SIZES[name])
    trainer = assemble(plan)
    trainer.state.flat.gradients.normal_()
    update(trainer.state.optimizer, dict.fromkeys(plan.group_rates, 1.0))
    save_state(trainer.state, tmp_path / "state.pt", {})
    size = (tmp_path / "state.pt").stat().st_size
    assert bytes_of_state(plan) == pytest.approx(size, rel=0.03)


def test_loras_and_states_are_there_when_they_are_due_and_go_when_their_time_is_over(tree: Tree) -> None:
    output = {"save_every_n_epochs": 1, "save_last_n_epochs": 1, "save_every_n_steps": 3, "save_last_n_steps": 3}
    states_by = {"save_state_every_n_epochs": 1, "save_last_n_steps_state": 3}
    tree["optimizer"] = {"name": "AdamW"}  # one of 8 bits has 32 for as few numbers as these
    outcome = run(tree, training={"epochs": 3}, output=output | states_by)
    folder = Path(tree["output"]["folder"])
    names = ["mine-000002.safetensors", "mine-step00000009.safetensors"]
    for place in (folder, outcome.run.weights):
        assert sorted(file.name for file in place.glob("*.safetensors")) == sorted([*names, "mine.safetensors"])
    assert [metadata(folder / name) for name in names] == [("8", "2"), ("9", "3")]
    assert metadata(folder / "mine.safetensors") == ("12", "3")
    saved = [(row["step"], row["epoch"]) for row in rows(outcome.run.events) if row["event"] == "lora_saved"]
    assert saved == [(3, 1), (4, 1), (6, 2), (8, 2), (9, 3)]
    assert [row["step"] for row in rows(outcome.run.events) if row["event"] == "state_saved"] == [4, 8, 12]
    assert [state_step(file) for file in states(outcome.run)] == [12]
    plan = planned(tree, output=output | states_by)
    assert 0.8 < bytes_of_lora(plan) / (folder / "mine.safetensors").stat().st_size < 1.2
    assert 0.8 < bytes_of_state(plan) / states(outcome.run)[0].stat().st_size < 1.2
    assert (folder / names[0]).samefile(outcome.run.weights / names[0]), "the same room on the disk is taken once"


def test_minutes_and_the_end_decide_about_states_too(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"save_state_every_n_minutes": 0.0, "save_state_on_train_end": False, "save_every_n_epochs": 0}
    assert states(run(tree, output=none).run) == []
    hours = iter(range(0, 10**6, 3600))
    monkeypatch.setattr("tehon.training.saving.time.monotonic", lambda: float(next(hours)))
    timed = none | {"name": "timed", "save_state_every_n_minutes": 59.0, "save_last_n_states": 3}
    assert [state_step(file) for file in states(run(tree, output=timed).run)] == [4, 3, 2]
    rarely = timed | {"name": "rarely", "save_state_every_n_minutes": 1e6}
    assert states(run(tree, output=rarely).run) == []


def test_asking_to_save_gives_a_state_and_a_lora(tree: Tree) -> None:
    def ask(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 2:
            (next(Path(tree["output"]["folder"]).glob("runs/mine-2*")) / "inbox" / "save").touch()

    outcome = start_run(planned(tree), ask)
    assert metadata(Path(tree["output"]["folder"]) / "mine-step00000002.safetensors") == ("2", "1")
    assert [state_step(file) for file in states(outcome.run)] == [4, 2]


LIMITED = """
import resource, sys
from pathlib import Path
from tehon.planning.plan import make_plan
from tehon.settings.files import load_settings
from tehon.training.run import start_run
from tehon.messages.problem import Problem

def watch(name, facts):
    if name == "state_saved":  # from now on no file can be longer than half a state
        half = Path(facts["path"]).stat().st_size // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))
try:
    start_run(make_plan(load_settings(Path(sys.argv[1]), {})), watch)
except Problem as problem:
    print(problem)
"""


def test_a_state_that_no_disk_takes_ends_the_run_in_words_and_harms_nothing(tree: Tree, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    plan = planned(tree, output={"save_state_every_n_steps": 2})
    config.write_text(to_toml(plan.settings))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(config)],
        env={**os.environ, "PYTHONPATH": str(Path(tehon.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    (folder,) = (tmp_path / "out" / "runs").glob("mine-2*")
    assert done.stdout.startswith(f"{folder / 'state' / 'step-00000004.pt'}: no file may be as large as this one there")
    assert "then do it again, or go on with tehon resume" in done.stdout
    assert [file.name for file in (folder / "state").iterdir()] == ["step-00000002.pt"]
    from tehon.runs.layout import RunDirectory

    resumed = resume_run(RunDirectory(folder), quiet)
    straight = run(tree, output={"name": "straight"})
    hashes = {read_header(out.lora).metadata["sshs_model_hash"] for out in (resumed, straight) if out.lora}
    assert len(hashes) == 1


def test_too_little_room_is_said_before_the_start(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr("tehon.disk.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(Problem, match=r"the disk has 100\.0 KB free, but \d+\.\d [KM]B are needed;"):
        run(tree)
    assert not list(Path(tree["output"]["folder"]).rglob("*.safetensors"))


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_bytes(b"before")

    def fail(aside: Path) -> None:
        aside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def interrupt(aside: Path) -> None:
        aside.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(Problem, match="the disk is full"):
        fill_whole(file, fail)
    with pytest.raises(KeyboardInterrupt):
        fill_whole(file, interrupt)
    assert [one.name for one in tmp_path.iterdir()] == ["state"]
    assert file.read_bytes() == b"before"


def test_two_runs_do_not_share_a_name_or_a_directory(tree: Tree) -> None:
    folder = Path(tree["output"]["folder"])

    def second(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 1:
            with pytest.raises(Problem, match="another run is writing LoRAs named mine into"):
                start_run(planned(tree), quiet)
            with pytest.raises(Problem, match="a process is at work on this run already"):
                resume_run(type(outcome.run)(next(folder.glob("runs/mine-2*"))), quiet)

    outcome = run(tree, output={"name": "other"})
    assert start_run(planned(tree), second).lora
    assert len(list(folder.glob("runs/mine-2*"))) == 1


def test_a_lora_that_appears_under_the_name_meanwhile_is_left_alone(tree: Tree) -> None:
    place = Path(tree["output"]["folder"]) / "mine.safetensors"

    def appear(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 1:
            place.write_bytes(b"precious")

    with pytest.raises(Problem, match="came from elsewhere while the run was at work") as told:
        start_run(planned(tree), appear)
    assert place.read_bytes() == b"precious"
    assert Path(str(told.value.values["kept"])).is_file()


def test_two_runs_started_in_the_same_second_have_two_directories(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the clock is set back."""
    from tehon.runs import layout

    class Still(layout.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2020, 1, 1)

    monkeypatch.setattr("tehon.runs.layout.datetime", Still)
    output = Path(tree["output"]["folder"])
    names = [layout.new_run_directory(output, "mine").path.name for _ in range(3)]
    assert names == ["mine-20200101-000000", "mine-20200101-000000-2", "mine-20200101-000000-3"]


def test_a_state_that_a_dying_run_had_no_time_to_remove_goes_with_the_resume(tree: Tree) -> None:
    """It died after its last state was there, so no other save follows."""
    done = run(tree, training={"epochs": 3}, output={"save_state_every_n_steps": 1}).run
    kept = states(done)
    assert len(kept) == 2
    done.state_file(1).write_bytes(kept[-1].read_bytes())
    events = done.events.read_text("utf8").splitlines(keepends=True)
    assert '"finished"' in events[-1]
    done.events.write_text("".join(events[:-1]), "utf8")
    resume_run(done, quiet)
    assert states(done) == kept
