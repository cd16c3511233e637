"""Logs for other programs: everything of the record is in them, by the programs' own readers."""

import builtins
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from tehon.messages.problem import Problem
from tehon.planning.report import as_text
from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows
from tehon.training import logs as logs_module
from tehon.training.logs import LogWriter
from tehon.training.run import resume_run, start_run
from trainings import planned, quiet

Tree = dict[str, Any]
KEY = "0123456789abcdef0123456789abcdef01234567"


def read_tensorboard(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    reader.Reload()
    return reader


def read_wandb(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(configuration, history) of an offline run. W&B's own process may still be writing when our part is done."""
    until = time.monotonic() + 60
    while True:
        config, history, whole = records(file.read_bytes())
        if whole:
            return config, history
        assert time.monotonic() < until, "the file never came to its end"
        time.sleep(0.1)


def records(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    """(configuration, history, whether the end is there): records in the log format of LevelDB behind a header of 7
    bytes."""
    place, buffer, whole = 7, b"", False
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + 7 + length > len(data):
            break
        buffer += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(buffer)
            buffer = b""
            if record.WhichOneof("record_type") == "run":
                config |= {item.key: item.value_json for item in record.run.config.update}
                config |= {"the project": record.run.project, "the name": record.run.display_name}
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                history.append({item.key or ".".join(item.nested_key): item.value_json for item in items})
            whole |= record.WhichOneof("record_type") == "exit"
    return config, history, whole


@pytest.fixture
def logged(tree: Tree, tmp_path: Path) -> Tree:
    tree["training"] |= {"epochs": 2, "gradient_accumulation_steps": 2}
    tree["data"]["validation_split"] = 0.4
    tree["network"]["scale_weight_norms"] = 5.0
    tree["samples"] = {"prompts": "a cat --w 64 --h 64 --s 1 --n dog", "every_n_steps": 2}
    tree["logs"] = {"folder": str(tmp_path / "logs"), "prefix": "mofu-"}
    return tree


def test_tensorboard_finds_all_figures_also_after_a_resume(logged: Tree, tmp_path: Path) -> None:
    logged["output"]["save_state_every_n_steps"] = 1

    def stop_after_one(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    plan = planned(logged)
    stopped = start_run(plan, stop_after_one)
    assert stopped.lora is None
    outcome = resume_run(stopped.run, quiet)
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("mofu-2")
    assert len(folder.name) == len("mofu-") + len("YYYYmmddHHMMSS")
    reader = read_tensorboard(folder / "network_train")
    found = {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in reader.Tags()["scalars"]}

    table = rows(outcome.run.metrics)
    steps = [row for row in table if "loss" in row]
    assert len(steps) == plan.steps
    expected = {
        "loss/current": [(row["step"], row["loss"]) for row in steps],
        "gradient_norm": [(row["step"], row["gradient_norm"]) for row in steps],
        "lr/unet": [(row["step"], row["rates"]["lora_unet"]) for row in steps],
        "lr/textencoder": [(row["step"], row["rates"]["lora_te"]) for row in steps],
        "max_norm/keys_scaled": [(row["step"], row["norms_scaled"]) for row in steps],
        "max_norm/max_key_norm": [(row["step"], row["norm_largest"]) for row in steps],
        "max_norm/average_key_norm": [(row["step"], row["norm_mean"]) for row in steps],
        "loss/validation": [(row["step"], row["validation_loss"]) for row in table if "validation_loss" in row],
    }
    for name, values in expected.items():
        assert [step for step, _ in found[name]] == [step for step, _ in values], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in values], rel=1e-6), name
    per_epoch = plan.steps_per_epoch
    means = [sum(row["loss"] for row in steps[max(0, n - per_epoch) : n]) / min(n, per_epoch) for n in range(1, 5)]
    assert [value for _, value in found["loss/average"]] == pytest.approx(means[: plan.steps], rel=1e-6)
    assert [event.step for event in reader.Images("sample_0")] == [2, 4][: plan.steps // 2]
    assert len(reader.Images("base_0")) == 1
    text = reader.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "scale_weight_norms = 5.0" in text


def test_a_wandb_offline_run_can_be_read_back(
    logged: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    logged["logs"] |= {"log_with": "all", "wandb_offline": True, "run_name": "first", "tracker_name": "cats"}
    logged["training"]["epochs"] = 1
    outcome = start_run(planned(logged), quiet)
    assert "wandb" not in capfd.readouterr().out
    (file,) = (tmp_path / "logs").rglob("*.wandb")
    assert (tmp_path / "logs") in file.parents
    config, history = read_wandb(file)
    assert '"mofu-"' in config["logs"]
    assert (config["the project"], config["the name"]) == ("cats", "first")
    steps = [row for row in rows(outcome.run.metrics) if "loss" in row]
    told = [(int(row["step"]), float(row["loss/current"])) for row in history if "loss/current" in row]
    assert told == [(row["step"], row["loss"]) for row in steps]
    assert any("loss/validation" in row for row in history)
    assert any("sample_0._type" in row or "sample_0" in row for row in history)
    assert read_tensorboard(next(file.parents[3].glob("*/cats"))).Tags()["scalars"]
    ours = [path for path in tmp_path.rglob("*") if path.is_file() and "wandb" not in path.parts]
    assert [path for path in ours if KEY.encode() in path.read_bytes()] == [], "the key is in no file of ours"


def test_a_missing_package_or_key_is_refused_before_anything_is_written(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(Problem, match=r"no key on this machine; run wandb login, set WANDB_API_KEY"):
        start_run(planned(tree, logs={"log_with": "wandb"}), quiet)
    monkeypatch.setattr(logs_module, "find_spec", lambda name: None)
    with pytest.raises(Problem, match=r'pip install ".\[tensorboard\]"'):
        start_run(planned(tree, logs={"folder": str(tmp_path / "logs")}), quiet)
    assert not Path(tree["output"]["folder"]).exists()
    assert not (tmp_path / "logs").exists()


def test_the_packages_are_imported_only_when_asked_for(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def guarded(name: str, *rest: Any, **more: Any) -> Any:
        assert name.partition(".")[0] not in ("tensorboard", "wandb"), name
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    monkeypatch.setattr(logs_module, "import_module", guarded)
    assert start_run(planned(tree, training={"max_train_steps": 1}), quiet).lora


def test_where_logs_go_has_to_be_said_and_settings_for_other_logs_are_named(tree: Tree) -> None:
    with pytest.raises(Problem, match="needs a folder for logs"):
        planned(tree, logs={"log_with": "tensorboard"})
    notes = as_text(planned(tree, logs={"prefix": "a", "tracker_name": "b", "run_name": "c", "wandb_offline": True}))
    assert "logs.prefix has no effect: no logs are written." in notes
    assert "logs.tracker_name has no effect: no logs are written." in notes
    assert "logs.run_name has no effect: nothing is logged to W&B." in notes
    assert "logs.wandb_offline has no effect: nothing is logged to W&B." in notes
    assert "logs.prefix has no effect: logs.folder is empty." in as_text(
        planned(tree, logs={"log_with": "wandb", "prefix": "a"})
    )


class Failing(logs_module.TensorBoard):
    """Fails at the given moment, as a writer does whose disk or network is gone."""

    moment = ""

    def scalars(self, values: Any, step: int, time: float | None) -> None:
        if self.moment == "scalars" and step == 2:
            raise RuntimeError("the network is gone\nand more")
        super().scalars(values, step, time)

    def close(self) -> None:
        if self.moment == "close":
            raise OSError("no space")
        super().close()


@pytest.mark.parametrize(("moment", "reason"), [("scalars", "the network is gone"), ("close", "no space")])
def test_a_log_that_fails_costs_the_run_nothing(
    logged: Tree, monkeypatch: pytest.MonkeyPatch, moment: str, reason: str
) -> None:
    monkeypatch.setattr(Failing, "moment", moment)
    monkeypatch.setattr("tehon.training.observers.TensorBoard", Failing)
    outcome = start_run(planned(logged, training={"epochs": 1}, samples={"every_n_steps": 0}), quiet)
    assert outcome.lora is not None
    events = rows(outcome.run.events)
    told = [row["text"] for row in events if row["event"] == "notice" and "TensorBoard" in row["text"]]
    assert told == [
        f"TensorBoard failed ({reason}), so nothing more is logged to it; the training goes on, "
        f"and its own record in {outcome.run.path} is whole."
    ]
    assert [row["event"] for row in events].count("finished") == 1


def test_a_damaged_record_costs_no_row_behind_it_and_replaces_no_error(logged: Tree, tmp_path: Path) -> None:
    def damage(name: str, facts: dict[str, Any]) -> None:
        if name == "step":
            (run,) = Path(logged["output"]["folder"]).glob("runs/*")
            with (run / "metrics.jsonl").open("ab") as stream:
                stream.write(b'{"step": 9, "lo\n')
            if facts["step"] == 2:
                raise RuntimeError("its own")

    with pytest.raises(RuntimeError, match="its own"):
        start_run(planned(logged), damage)
    (folder,) = (tmp_path / "logs").iterdir()
    scalars = read_tensorboard(folder / "network_train").Scalars("loss/current")
    assert [event.step for event in scalars] == [1, 2]


class Noted:
    """A log that remembers the steps of its rows."""

    name = "noted"
    replays = False

    def __init__(self) -> None:
        self.steps: list[int] = []

    def scalars(self, values: Any, step: int, time: float | None) -> None:
        self.steps.append(step)

    def picture(self, name: str, file: Path, caption: str, step: int) -> None:
        raise AssertionError("there is none")

    def close(self) -> None:
        pass


def test_a_record_that_became_shorter_is_read_anew(tmp_path: Path) -> None:
    directory, log = RunDirectory(tmp_path), Noted()
    writer = LogWriter(directory, [log], 4, print)
    for steps in ([1, 2, 3], [1], [1, 5]):
        directory.metrics.write_text("".join(f'{{"step": {step}, "loss": 0.5, "rates": {{}}}}\n' for step in steps))
        writer.catch_up()
    assert log.steps == [1, 2, 3, 1, 5]


def test_a_log_that_never_closes_has_the_lora_before_it_and_ctrl_c_then_undoes_nothing(
    logged: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(logged["output"]["folder"]) / "mine.safetensors"

    def interrupted(self: Any) -> None:
        assert place.is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(logs_module.TensorBoard, "close", interrupted)
    outcome = start_run(planned(logged, training={"epochs": 1}, samples={"every_n_steps": 0}), quiet)
    assert outcome.lora == place
    assert rows(outcome.run.events)[-1]["event"] == "finished"


def test_a_resume_logs_where_it_is_told_to_and_else_where_it_did(logged: Tree, tmp_path: Path) -> None:
    logged["samples"] = {}
    plan = planned(logged, training={"epochs": 1})
    first = start_run(plan, quiet)
    (before,) = (tmp_path / "logs").iterdir()
    resume_run(first.run, quiet, {"training.epochs": 2})
    assert list((tmp_path / "logs").iterdir()) == [before]
    changed = {"logs.folder": str(tmp_path / "others"), "logs.prefix": "b-", "training.epochs": 3}
    resume_run(first.run, quiet, changed)
    assert list((tmp_path / "logs").iterdir()) == [before]
    (after,) = (tmp_path / "others").iterdir()
    assert after.name.startswith("b-2")
    steps = [event.step for event in read_tensorboard(after / "network_train").Scalars("loss/current")]
    assert steps == list(range(1, 3 * plan.steps + 1))
    told = [row["folder"] for row in rows(first.run.events) if row["event"] == "logging"]
    assert told == [str(before), str(before), str(after)]


def test_a_folder_for_logs_that_cannot_be_written_is_refused_before_anything_is(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(Problem, match=r"^logs\.folder: .*logs cannot be written \("):
        start_run(planned(tree, logs={"folder": str(tmp_path / "logs")}), quiet)
    assert not Path(tree["output"]["folder"]).exists()
