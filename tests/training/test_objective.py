"""Every setting of noise, timesteps and loss changes the losses of the readings, and none looks at their company."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tehon.families.schedulers import make_scheduler
from tehon.messages.problem import Problem
from tehon.planning.notices import notices_for
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble, build_objective
from tehon.training.facts import run_facts

Tree = dict[str, Any]
SETTINGS: list[tuple[dict[str, Any], str, Any]] = [
    # what else is set, setting, value
    ({}, "noise_offset", 0.3),
    ({"noise_offset": 0.3}, "noise_offset_random_strength", True),
    ({"noise_offset": 0.3}, "adaptive_noise_scale", 0.5),
    ({}, "multires_noise_iterations", 4),
    ({"multires_noise_iterations": 4}, "multires_noise_discount", 0.8),
    ({}, "ip_noise_gamma", 0.3),
    ({"ip_noise_gamma": 0.3}, "ip_noise_gamma_random_strength", True),
    ({}, "min_timestep", 500),
    ({}, "max_timestep", 500),
    ({}, "timestep_sampling", "logit_normal"),
    ({"timestep_sampling": "logit_normal"}, "logit_mean", 2.0),
    ({"timestep_sampling": "logit_normal"}, "logit_std", 0.3),
    ({}, "stratified_timesteps", True),
    ({}, "loss_type", "huber"),
    ({"loss_type": "huber"}, "huber_schedule", "constant"),
    ({"loss_type": "huber"}, "huber_c", 0.5),
    ({"loss_type": "huber"}, "huber_scale", 2.0),
    ({}, "min_snr_gamma", 1.0),
    ({}, "debiased_estimation_loss", True),
    ({}, "v_pred_like_loss", 0.5),
]
ALL = {"noise_offset": 0.3, "noise_offset_random_strength": True, "adaptive_noise_scale": 0.5}
ALL |= {"multires_noise_iterations": 4, "ip_noise_gamma": 0.3, "ip_noise_gamma_random_strength": True}
ALL |= {"timestep_sampling": "logit_normal", "loss_type": "huber", "min_snr_gamma": 5.0, "v_pred_like_loss": 0.1}


@pytest.fixture
def trainer(tree: Tree) -> Trainer:
    return assemble(make_plan(validate(tree)))


@torch.no_grad()
def losses(trainer: Trainer, **objective: Any) -> dict[tuple[int, int], float]:
    """The losses of the readings of the first epoch, {(picture, repeat): loss}; the adapters do nothing yet."""
    settings = trainer.plan.settings.objective.model_copy(update=objective)
    noise, times, judgement = build_objective(settings)
    step = replace(trainer.step, noise=noise, times=times, judgement=judgement)
    return {
        (read.picture, read.repeat): loss
        for batch in trainer.plan.epoch(0)
        for read, loss in zip(batch.reads, step.losses_of(0, batch).tolist(), strict=True)
    }


def test_each_setting_of_the_objective_changes_the_losses(trainer: Trainer) -> None:
    without: dict[str, Any] = {}
    for others, name, value in SETTINGS:
        if str(others) not in without:
            without[str(others)] = losses(trainer, **others)
        assert losses(trainer, **others, **{name: value}) != without[str(others)], name


def test_what_is_drawn_for_a_reading_does_not_depend_on_its_batch(tree: Tree, trainer: Trainer) -> None:
    alone = assemble(make_plan(validate(tree | {"data": tree["data"] | {"batch_size": 1}})))
    together, apart = losses(trainer, **ALL), losses(alone, **ALL)
    assert together.keys() == apart.keys()
    for read, loss in together.items():
        assert loss == pytest.approx(apart[read], rel=1e-4), read


def test_losses_are_weighted_by_their_formula(trainer: Trainer) -> None:
    """With one timestep for all, a weight is one factor for all."""
    one = {"min_timestep": 100, "max_timestep": 101}
    plain, a = losses(trainer, **one), float(trainer.parts.alphas[100])
    snr = a / (1 - a)
    for change, factor in (
        ({"min_snr_gamma": 5.0}, 5 / snr),
        ({"debiased_estimation_loss": True}, snr**-0.5),
        ({"v_pred_like_loss": 0.5}, 1 + 0.5 * (snr + 1) / snr),
    ):
        for read, loss in losses(trainer, **one, **change).items():
            assert loss == pytest.approx(factor * plain[read], rel=1e-4), change


@pytest.fixture
def velocity(nano: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a model that predicts v, with more in its scheduler's configuration if wanted."""

    def make(**more: Any) -> Path:
        model = shutil.copytree(nano, tmp_path / "v")
        file = model / "scheduler" / "scheduler_config.json"
        own = json.loads(file.read_text("utf8")) | {"prediction_type": "v_prediction"} | more
        file.write_text(json.dumps(own), "utf8")
        return model

    return make


def test_a_loss_like_that_of_v_needs_a_model_that_does_not_predict_v(tree: Tree, velocity: Callable[..., Path]) -> None:
    changed = tree | {"model": {"path": str(velocity())}, "objective": {"v_pred_like_loss": 0.5}}
    with pytest.raises(Problem, match=r"^objective.v_pred_like_loss: the model in .* predicts v itself"):
        make_plan(validate(changed))
    trainer = assemble(make_plan(validate(changed | {"objective": {}})))
    one = {"min_timestep": 100, "max_timestep": 101}
    plain, a = losses(trainer, **one), float(trainer.parts.alphas[100])
    snr = a / (1 - a)
    for change, factor in (
        ({"min_snr_gamma": 5.0}, 5 / (snr + 1)),
        ({"scale_v_pred_loss_like_noise_pred": True}, snr / (snr + 1)),
    ):
        for read, loss in losses(trainer, **one, **change).items():
            assert loss == pytest.approx(factor * plain[read], rel=1e-4), change


@pytest.mark.parametrize("name", ["scale_v_pred_loss_like_noise_pred", "zero_terminal_snr"])
def test_what_is_for_v_is_refused_for_a_model_that_predicts_the_noise(tree: Tree, name: str) -> None:
    with pytest.raises(Problem, match=f"^objective.{name}: the model predicts the noise"):
        make_plan(validate(tree | {"objective": {name: True}}))


def test_zero_terminal_snr_ends_the_noise_in_pure_noise_for_loss_weights_samples_and_metadata(
    tree: Tree, velocity: Callable[..., Path]
) -> None:
    tree |= {"model": {"path": str(velocity())}}
    before = assemble(make_plan(validate(tree)))
    plan = make_plan(validate(tree | {"objective": {"zero_terminal_snr": True}}))
    trainer = assemble(plan)
    old, new = (one.parts.alphas.sqrt() for one in (before, trainer))
    # algorithm 1 of arXiv 2305.08891
    assert torch.allclose(new, (old - old[-1]) * old[0] / (old[0] - old[-1]), atol=1e-4)
    assert new[-1] == 0
    assert losses(trainer) != losses(before)
    last = {"min_timestep": 999, "max_timestep": 1000}
    assert all(loss > 0 for loss in losses(trainer, **last).values())
    for change in (
        {"min_snr_gamma": 5.0},
        {"scale_v_pred_loss_like_noise_pred": True},
        {"debiased_estimation_loss": True},
        {"loss_type": "huber"},
    ):
        assert all(0 <= loss < 100 for loss in losses(trainer, **last, **change).values()), change
    assert set(losses(trainer, **last, min_snr_gamma=5.0).values()) == {0.0}, "no picture is left to weigh"
    assert make_scheduler("euler", trainer.parts.schedule).config["timestep_spacing"] == "trailing"
    assert run_facts(plan, 1, 0.0)["zero_terminal_snr"] is True
    assert run_facts(before.plan, 1, 0.0)["zero_terminal_snr"] is False


def test_strata_reach_over_all_batches_of_an_update(tree: Tree) -> None:
    """Two batches of two readings: each of the four timesteps lies in a quarter of its own."""
    tree["training"] |= {"gradient_accumulation_steps": 2}
    trainer = assemble(make_plan(validate(tree | {"objective": {"stratified_timesteps": True}})))
    seen: list[int] = []
    draw = trainer.step.times.draw

    class Watched:
        def draw(self, *arguments: Any) -> Any:
            times = draw(*arguments)
            seen.extend(times.tolist())
            return times

    step = replace(trainer.step, times=Watched())  # type: ignore[arg-type]
    trainer.learning = replace(trainer.learning, step=step)
    for report in trainer.updates():
        count = sum(len(batch.reads) for batch in report.batches)
        assert len(seen) == count
        assert all(1000 * i // count <= time < 1000 * (i + 1) / count for i, time in enumerate(seen))
        seen.clear()


def test_strata_of_one_reading_are_said_to_do_nothing(tree: Tree) -> None:
    tree |= {"objective": {"stratified_timesteps": True}}
    said = [text for text in notices_for(make_plan(validate(tree))) if "stratified_timesteps" in text]
    assert said == []
    tree["data"]["batch_size"] = 1
    (said,) = [text for text in notices_for(make_plan(validate(tree))) if "stratified_timesteps" in text]
    assert said == "objective.stratified_timesteps has no effect: each step reads one picture alone."


def test_a_model_whose_noise_ends_so_by_itself_is_told(tree: Tree, velocity: Callable[..., Path]) -> None:
    model = velocity(rescale_betas_zero_snr=True)
    plan = make_plan(validate(tree | {"model": {"path": str(model)}, "objective": {"zero_terminal_snr": True}}))
    assert any("the model's own noise ends in pure noise already" in text for text in notices_for(plan))
