"""The loss on held-out pictures: the same question each time, and no trace of it in the training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import DDPMScheduler
from PIL import Image

from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan
from tehon.planning.report import as_data, as_text
from tehon.training.assemble import assemble
from tehon.training.run import Outcome, start_run
from tehon.training.validation import LEVELS, Validation
from trainings import planned

Tree = dict[str, Any]


@pytest.fixture
def held(tree: Tree, tmp_path: Path) -> Tree:
    """Settings with a folder of two pictures for validation, of two sizes."""
    folder = tmp_path / "held" / "1_out"
    folder.mkdir(parents=True)
    for number, size in enumerate([(64, 64), (96, 64)]):
        grain = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(grain).resize(size).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"held out {number}", "utf8")
    tree["data"]["validation_folder"] = str(folder.parent)
    tree["optimizer"] = {"learning_rate": 1e-2, "lr_scheduler": "constant"}
    return tree


def run(plan: Plan) -> tuple[Outcome, list[dict[str, Any]]]:
    outcome = start_run(plan, lambda name, facts: None)
    rows = [json.loads(line) for line in outcome.run.metrics.read_text("utf8").splitlines()]
    return outcome, [row for row in rows if "validation_loss" in row]


def test_the_loss_is_measured_after_every_epoch_and_at_the_end(held: Tree) -> None:
    plan = planned(held, training={"epochs": 3, "max_train_steps": 10})
    assert plan.steps_per_epoch == 4
    _, rows = run(plan)
    assert [(row["step"], row["epoch"]) for row in rows] == [(4, 1), (8, 2), (10, 3)]
    assert len({row["validation_loss"] for row in rows}) == 3, "the network changes, and so does its loss"


def test_without_held_out_pictures_nothing_is_measured(tree: Tree) -> None:
    assert run(planned(tree, training={"max_train_steps": 1}))[1] == []


def test_the_same_network_has_the_same_loss_whatever_was_trained_on(held: Tree) -> None:
    one, two = assemble(planned(held)), assemble(planned(held, data={"flip_aug": True, "batch_size": 1}))
    assert one.validation.loss() == one.validation.loss()
    assert two.validation.loss() == pytest.approx(one.validation.loss(), rel=1e-5)  # encoded in other company
    uncached = assemble(planned(held, feed={"cache_latents": False}))
    assert uncached.validation.loss() == pytest.approx(one.validation.loss(), rel=1e-4)


def test_measuring_leaves_the_training_as_it_was(held: Tree, tmp_path: Path) -> None:
    with_it, _ = run(planned(held))
    held["data"].pop("validation_folder")
    held["output"]["folder"] = str(tmp_path / "other")
    without, _ = run(planned(held))
    assert with_it.lora is not None
    assert without.lora is not None
    one, two = (safetensors.torch.load_file(file) for file in (with_it.lora, without.lora))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_is_the_mean_over_noise_levels(held: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a network that always answers zero, the loss is the noise's own square; noising is diffusers'."""
    held["model"] = {"path": "demo"}  # whose VAE is sure of its latents, so that their draw moves the loss little
    trainer = assemble(planned(held))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def answer(parts: Any, noisy: torch.Tensor, times: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append((noisy, times))
        return torch.zeros_like(noisy)

    monkeypatch.setattr(trainer.behaviour, "predict", answer)
    loss = trainer.validation.loss()
    assert len(seen) == 2
    assert [times.tolist() for _, times in seen] == [[int(1000 * level) for level in LEVELS]] * 2
    alphas = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear").alphas_cumprod
    squares = []
    for (noisy, times), (view, _) in zip(seen, trainer.validation.items, strict=True):
        clean = trainer.latents.read([view]).mean
        level = alphas[times].view(-1, 1, 1, 1)
        noise = (noisy - level.sqrt() * clean) / (1 - level).sqrt()
        squares.append(noise.square().mean((1, 2, 3)))
    assert loss == pytest.approx(float(torch.cat(squares).mean()), rel=0.05)  # the posterior's spread is in it


def test_the_loss_is_measured_by_steps_too(held: Tree) -> None:
    changes = {"training": {"epochs": 2, "max_train_steps": 7}}
    _, table = run(planned(held, **changes, validation={"every_n_steps": 3, "every_n_epochs": 0}))
    assert [row["step"] for row in table] == [3, 6, 7]
    plan = planned(held, **changes, validation={"every_n_steps": 3, "every_n_epochs": 2})
    assert as_data(plan)["measured_at"] == [3, 6, 7]
    assert not any(planned(held, validation={"every_n_epochs": 0}).measured_at(step) for step in range(9))


def test_the_training_ends_when_the_loss_falls_no_more(held: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the report names the LoRA nearest to the lowest loss."""
    answers = iter([0.5, 0.3, 0.4, 0.3, 0.1])
    monkeypatch.setattr(Validation, "loss", lambda self: next(answers))
    told: dict[str, dict[str, Any]] = {}
    plan = planned(held, training={"epochs": 3}, validation={"every_n_steps": 2, "stop_after": 2})
    outcome = start_run(plan, lambda name, facts: told.setdefault(name, facts) and None)
    assert plan.steps == 12
    assert outcome.steps == told["enough"]["step"] == 8
    assert outcome.lora is not None
    metadata = read_header(outcome.lora).metadata
    assert metadata["ss_steps"] == "8"
    assert metadata["ss_validation_split"] == str(plan.settings.data.validation_split)
    stated = [metadata[f"ss_validate_every_n_{unit}"] for unit in ("epochs", "steps")]
    assert stated == ["1", "2"]
    judged = told["judged"]
    assert (judged["step"], judged["loss"]) == (4, 0.3)


def test_stopping_by_a_loss_that_is_not_measured_is_refused(tree: Tree, held: Tree) -> None:
    with pytest.raises(Problem, match=r"validation\.stop_after: no loss on held-out pictures is measured"):
        planned(held, validation={"stop_after": 1, "every_n_epochs": 0})
    del tree["data"]["validation_folder"]
    with pytest.raises(Problem, match=r"validation\.stop_after: no loss on held-out pictures is measured"):
        planned(tree, validation={"stop_after": 1})
    text = as_text(planned(tree, validation={"every_n_steps": 2}))
    assert "validation.every_n_steps has no effect: no pictures are held out." in text
