"""The optimizer makes a step before anything else is done, and one that nobody asked for may be replaced."""

from pathlib import Path
from typing import Any

import bitsandbytes
import pytest

from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.run import start_run

Tree = dict[str, Any]


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes is installed, and does not run here."""

    def step(*_: Any) -> None:
        raise RuntimeError("no kernel for this device")

    monkeypatch.setattr(bitsandbytes.optim.AdamW8bit, "step", step)


@pytest.mark.usefixtures("_broken")
def test_the_default_that_does_not_run_is_replaced_and_said_before_the_pictures_are_encoded(tree: Tree) -> None:
    plan = make_plan(validate(tree))
    assert plan.optimizer.name == "AdamW8bit"
    told: list[tuple[str, dict[str, Any]]] = []
    outcome = start_run(plan, lambda name, facts: told.append((name, facts)))
    assert told[0] == (
        "notice",
        {
            "text": "optimizer.name: AdamW8bit does not run on cpu (no kernel for this device); choose another "
            "optimizer, AdamW for one. AdamW is used instead, as none was asked for."
        },
    )
    assert "encoding" in [name for name, _ in told[1:]]
    assert outcome.run.settings.read_text("utf8").count('name = "AdamW"') == 1
    assert outcome.lora is not None


@pytest.mark.usefixtures("_broken")
def test_one_that_was_asked_for_is_refused_before_anything_is_written(tree: Tree) -> None:
    tree |= {"optimizer": {"name": "AdamW8bit"}}
    with pytest.raises(Problem, match=r"^optimizer.name: AdamW8bit does not run on cpu \(no kernel"):
        start_run(make_plan(validate(tree)), lambda *_: None)
    assert not Path(tree["output"]["folder"]).exists()
