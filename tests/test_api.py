import re
import signal
from pathlib import Path
from typing import Any

import pytest

import tehon.api as tehon
from tehon.settings.files import to_toml, validate

ROOT = Path(__file__).parents[1]


def test_plan_and_train_from_python(tree: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(validate(tree)), "utf8")
    plan = tehon.make_plan(tehon.load_settings(file, {"training.max_train_steps": 1}))
    told: list[str] = []
    outcome = tehon.train(plan, lambda name, facts: told.append(name))
    assert outcome.steps == 1
    assert outcome.lora == tmp_path / "out" / "mine.safetensors"
    before, after = ["encoding", "encoding", "started"], ["state_saved", "step", "notice", "checked", "finished"]
    assert told == before + after  # the notice: what one step learns is too little for fp16


def test_the_example_of_both_readmes_runs(
    tree: dict[str, Any],
    nano: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    english, japanese = (
        re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text("utf8"), re.DOTALL | re.MULTILINE)
        for name in ("README.md", "README.ja.md")
    )
    assert english == japanese
    monkeypatch.chdir(tmp_path)
    tree["model"]["path"] = str(nano)
    Path("mycat.toml").write_text(to_toml(validate(tree)), "utf8")
    (example,) = english
    watch = "lambda event, facts: print(event, facts)"
    assert watch in example
    exec(example.replace(watch, "stop_at_first"), {"stop_at_first": stop_at_first})
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "3 4"
    assert last == f"4 {tmp_path / 'out' / 'mine.safetensors'}"


def stop_at_first(event: str, facts: dict[str, Any]) -> None:
    if event == "step" and facts["step"] == 1:
        signal.raise_signal(signal.SIGTERM)


def test_a_run_is_resumed_by_its_outcome_its_directory_and_its_name(tree: dict[str, Any], nano: Path) -> None:
    tree["model"]["path"] = str(nano)
    outcome = tehon.train(tehon.make_plan(validate(tree)), stop_at_first)
    assert isinstance(outcome, tehon.Outcome)
    assert (outcome.lora, outcome.steps) == (None, 1)
    assert tehon.resume(outcome.run.path, options={"training.max_train_steps": 2}).steps == 2
    assert tehon.resume(str(outcome.run.path), options={"training.max_train_steps": 3}).steps == 3
    told: list[str] = []
    last = tehon.resume("mine", lambda name, facts: told.append(name), {"training.max_train_steps": 4})
    assert (last.run.path, last.steps, told[-1]) == (outcome.run.path, 4, "finished")
    with pytest.raises(tehon.Problem, match="nobody"):
        tehon.resume("nobody")
    with pytest.raises(tehon.Problem, match="--allow-changes: nothing"):
        tehon.resume(
            outcome.run, options={"training.max_train_steps": 0, "training.epochs": 2}, allow_changes=["nothing"]
        )


def test_paths_are_paths_or_text(tree: dict[str, Any], tmp_path: Path) -> None:
    """Of the file, of an option, and within a list or a table."""
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(validate(tree)), "utf8")
    folder = tmp_path / "elsewhere"
    for given in (file, str(file)):
        sets = [{"folder": tmp_path / "pictures", "repeats": 1}]
        own = tehon.load_settings(given, {"output.folder": folder, "network.base_weights": [file], "data.sets": sets})
        assert own.output.folder == str(folder)
        assert own.network.base_weights == [str(file)]
        assert own.data.sets[0]["folder"] == str(tmp_path / "pictures")
    assert tehon.load_settings(file) == validate(tree)
    with pytest.raises(tehon.Problem, match=r"nothing\.toml: there is no such file"):
        tehon.load_settings("nothing.toml")
    assert (tehon.Settings.__doc__ or "").startswith("All that can be set")
