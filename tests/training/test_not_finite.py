"""A run that goes wrong stops at the first number that is not finite, and leaves what was good before it."""

import math
from pathlib import Path
from typing import Any

import pytest

from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.runs.read import rows
from tehon.settings.files import validate
from tehon.training.run import start_run
from tehon.training.state import read_state
from tehon.training.validation import Validation

Tree = dict[str, Any]


def quiet(name: str, facts: dict[str, Any]) -> None:
    pass


def test_a_rate_of_a_million_stops_at_the_first_step_that_is_not_finite(tree: Tree) -> None:
    tree["optimizer"] = {"learning_rate": 1e6, "text_encoder_lr": 1e6, "lr_scheduler": "constant"}
    tree["training"]["epochs"] = 5
    tree["output"]["save_state_every_n_steps"] = 1
    with pytest.raises(Problem, match=r"step \d+: the loss is not a finite number \(pictures 0") as caught:
        start_run(make_plan(validate(tree)), quiet)
    broken = caught.value.values["step"]
    assert isinstance(broken, int)
    (run,) = Path(tree["output"]["folder"]).glob("runs/*")
    table = rows(run / "metrics.jsonl")
    assert [row["step"] for row in table] == list(range(1, broken))
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"]) for row in table)
    states = sorted((run / "state").iterdir())
    assert f"{broken - 1:08d}" in states[-1].name, "the state before it is there, and none of the step itself"
    assert "mine.safetensors" not in [file.name for file in Path(tree["output"]["folder"]).iterdir()]
    assert read_state(states[-1])["weights"].isfinite().all()


def test_a_held_out_loss_that_is_not_finite_stops_the_run(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree["data"]["validation_split"] = 0.4
    tree["validation"] = {"every_n_steps": 1}
    answers = iter([0.5, float("nan")])
    monkeypatch.setattr(Validation, "loss", lambda self: next(answers))
    with pytest.raises(Problem, match="step 2: the loss on held-out pictures is not a finite number"):
        start_run(make_plan(validate(tree)), quiet)
    (run,) = Path(tree["output"]["folder"]).glob("runs/*")
    assert [row["validation_loss"] for row in rows(run / "metrics.jsonl") if "validation_loss" in row] == [0.5]
