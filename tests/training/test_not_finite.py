"""A run that goes wrong stops at the first number that is not finite, and leaves what was good before it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.runs.read import rows
from tehon.runs.record import append_rows
from tehon.settings.files import validate
from tehon.training import session
from tehon.training.assemble import Trainer
from tehon.training.average import LastGood
from tehon.training.chores import Metrics
from tehon.training.loop import Report
from tehon.training.run import start_run
from tehon.training.state import read_state
from tehon.training.validation import Validation
from trainings import quiet

Tree = dict[str, Any]


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
    assert "with lower rates, a tenth of these" in str(caught.value)
    (kept,) = Path(tree["output"]["folder"]).glob("mine-last-good-*.safetensors")
    assert kept.name == f"mine-last-good-step{broken - 2:08d}.safetensors"
    tensors = load_file(kept)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    texts = [row["text"] for row in rows(run / "events.jsonl") if row["event"] == "notice"]
    assert any(str(kept.name) in text and "which have learned nothing yet" in text for text in texts)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("network", [{}, {"ema": True}])
def test_the_last_weights_with_a_finite_loss_are_kept(
    tree: Tree, every: int, network: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where losses are read later than they are made, as on a graphics card."""
    honest, weights = Trainer.updates, dict[int, torch.Tensor]()

    def spoiled(self: Trainer) -> Iterator[Report]:
        weights[0] = self.state.flat.weights.clone()
        for report in honest(self):
            weights[report.step] = self.state.flat.weights.clone()
            if report.step >= 6:
                self.state.flat.weights.fill_(torch.nan)
            yield replace(report, loss=report.loss * (torch.nan if report.step == 7 else 1))

    def metrics(file: Path, _every: int, *rest: Any) -> Metrics:
        return Metrics(file, every, *rest)

    monkeypatch.setattr(Trainer, "updates", spoiled)
    monkeypatch.setattr(session, "Metrics", metrics)
    monkeypatch.setattr(LastGood, "every", property(lambda self: every, lambda self, _: None), raising=False)
    tree["training"] |= {"epochs": 4, "ema_decay": 0.9 if network else 0.0}
    with pytest.raises(Problem, match="step 7: the loss is not a finite number"):
        start_run(make_plan(validate(tree)), quiet)
    (kept,) = Path(tree["output"]["folder"]).glob("mine-last-good-*.safetensors")
    good = 5 if every == 1 else 3
    assert f"step{good:08d}" in kept.name
    found = torch.cat([t.flatten() for name, t in sorted(load_file(kept).items()) if "alpha" not in name])
    assert torch.equal(found.sort().values, weights[good].sort().values)
    (run,) = Path(tree["output"]["folder"]).glob("runs/*")
    texts = [row["text"] for row in rows(run / "events.jsonl") if row["event"] == "notice"]
    assert any(text.startswith(f"The last weights that gave a finite loss, those of step {good}") for text in texts)


def test_a_gradient_that_is_not_finite_is_named_as_such(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 1, 9, str, lambda: None)
    report = Report(3, 0, {"lora_unet": 2e-4}, torch.tensor(0.5), torch.tensor(torch.inf), [])
    assert metrics.due(report)
    with pytest.raises(Problem, match=r"step 3: the gradient is not a finite number .*lora_unet 0.0002.* with bf16"):
        metrics.run(report)


def test_the_loss_that_a_run_tells_is_the_mean_of_the_last_steps_also_of_those_before_a_resume(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append_rows(file, [{"step": step, "epoch": 1, "loss": loss} for step, loss in ((1, 9.0), (2, 0.4))])
    metrics = Metrics(file, 1, 200, str, lambda: None)
    for step, loss in enumerate([0.1, 0.3] * 49 + [0.2], 3):
        report = Report(step, 0, {"lora_unet": 2e-4}, torch.tensor(loss), torch.tensor(1.0), [])
        assert metrics.due(report)
        metrics.run(report)
    assert metrics.recent_loss == pytest.approx((0.4 + 0.2 * 99) / 100)
    assert [row["step"] for row in rows(file)] == list(range(1, 102))


def test_a_held_out_loss_that_is_not_finite_stops_the_run(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree["data"]["validation_split"] = 0.4
    tree["validation"] = {"every_n_steps": 1}
    answers = iter([0.5, float("nan")])
    monkeypatch.setattr(Validation, "loss", lambda self: next(answers))
    with pytest.raises(Problem, match="step 2: the loss on held-out pictures is not a finite number"):
        start_run(make_plan(validate(tree)), quiet)
    (run,) = Path(tree["output"]["folder"]).glob("runs/*")
    assert [row["validation_loss"] for row in rows(run / "metrics.jsonl") if "validation_loss" in row] == [0.5]
