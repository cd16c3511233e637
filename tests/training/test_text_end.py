"""The end of the text encoders' training: their tensors stay, their work ends, and the U-Net learns on, after a resume
too."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
from tehon.runs.read import rows, states
from tehon.training.assemble import Trainer, assemble
from tehon.training.attach import file_tensors
from tehon.training.run import Outcome, resume_run, start_run
from trainings import planned, quiet

Tree = dict[str, Any]
HALF = {"stop_text_encoder_training": 50.0}


def of_text(tensors: dict[str, Tensor], text: bool = True) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith("lora_te") == text}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "decay, dropout, accumulation": {
        "optimizer": {"name": "AdamW", "arguments": "weight_decay=0.5"},
        "network": {"dropout": 0.3, "scale_weight_norms": 0.01},
        "training": {"gradient_accumulation_steps": 2, "epochs": 4},
    },
    "averages": {"optimizer": {"name": "AdamWScheduleFree"}},
    "average of the adapter": {"optimizer": {"name": "AdamW"}, "training": {"ema_decay": 0.9}},
    "one rate for all": {"optimizer": {"name": "Prodigy", "learning_rate": 1.0, "text_encoder_lr": 1.0}},
    "factors, captions read anew": {
        "optimizer": {"name": "SGDNesterov8bit", "learning_rate": 1.0, "text_encoder_lr": 1.0},
        "network": {"loraplus_lr_ratio": 4.0, "rank_dropout": 0.3},
        "feed": {"cache_text": False},
    },
}


@pytest.mark.parametrize("name", CASES)
def test_text_tensors_stay_from_half_time_on_and_a_resume_there_is_the_straight_run(tree: Tree, name: str) -> None:
    case = {section: dict(values) for section, values in CASES[name].items()}
    case["optimizer"] |= HALF
    case["training"] = {"epochs": 2} | case.get("training", {})
    case["output"] = {"save_every_n_steps": 1, "save_precision": "float", "save_state_every_n_steps": 1}
    case["output"] |= {"save_last_n_states": 0, "overwrite": True}
    plan = planned(tree, **case)
    straight = start_run(plan, quiet)
    assert straight.lora is not None
    saved = [safetensors.torch.load_file(straight.run.weights / f"mine-step{n:08d}.safetensors") for n in (1, 2, 3)]
    final = safetensors.torch.load_file(straight.lora)
    half = plan.text_steps
    assert (half, plan.steps) == (4, 8)
    at_half = safetensors.torch.load_file(straight.run.weights / f"mine-step{half:08d}.safetensors")
    assert of_text(at_half)
    assert not same(of_text(at_half), of_text(saved[-1])), "it learns up to there"
    assert same(of_text(at_half), of_text(final))
    assert not same(of_text(at_half, False), of_text(final, False)), "the U-Net learns on"
    metadata = read_header(straight.lora).metadata
    assert metadata["ss_stop_text_encoder_training"] == "50.0"

    for at in (half - 1, half + 1) if name.startswith("decay") else (half,):
        again = shutil.copytree(straight.run.path, straight.run.path.parent / f"again-{at}")
        resumed = type(straight.run)(again)
        for file in states(resumed):
            if int(file.stem.rpartition("-")[2]) > at:
                file.unlink()
        outcome = resume_run(resumed, quiet)
        assert outcome.lora is not None
        assert same(safetensors.torch.load_file(outcome.lora), final), at


def test_what_it_takes_ends_with_it(tree: Tree) -> None:
    """Each caption is encoded once more, without gradients; then the encoder rests."""
    plan = planned(tree, optimizer=HALF, training={"epochs": 4})
    trainer = assemble(plan)
    passes: list[bool] = []
    trainer.parts.text_encoder.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    counts: list[tuple[int, int]] = []
    for _ in trainer.updates():
        counts.append((passes.count(True), passes.count(False)))
    captions = {caption for picture in plan.pictures for caption in [picture.plain_caption]}
    assert [learning for learning, _ in counts] == [*range(1, 9), *[8] * 8]
    assert [kept > 0 for _, kept in counts] == [False] * 8 + [True] * 8
    assert counts[-1][1] == 1, f"the {len(captions)} captions of the run are one batch"
    text = [group for group in trainer.state.flat.groups if plan.is_text(group)]
    assert text
    for group in text:
        assert not trainer.state.flat.groups[group].requires_grad
        assert trainer.state.flat.groups[group].grad is not None
        assert not trainer.state.flat.groups[group].grad.any()  # type: ignore[union-attr]


def test_captions_kept_and_read_anew_are_the_same_where_adapters_draw(tree: Tree) -> None:
    """Once it learns no more, the text encoder's adapters leave nothing out."""
    found: list[dict[str, Tensor]] = []
    for kept in (True, False):
        plan = planned(
            tree, optimizer=HALF, network={"dropout": 0.5}, feed={"cache_text": kept}, data={"batch_size": 1}
        )
        trainer = assemble(plan)
        for _ in trainer.updates():
            pass
        found.append({name: tensor.clone() for name, tensor in file_tensors(trainer.adapters).items()})
    for name, tensor in found[0].items():
        assert torch.allclose(tensor, found[1][name], atol=1e-6), name


def test_rates_end_with_it_in_the_plan_and_in_the_run(tree: Tree) -> None:
    plan = planned(tree, optimizer=HALF | {"lr_scheduler": "constant"})
    outcome: Outcome = start_run(plan, quiet)
    rates = [row["rates"] for row in rows(outcome.run.metrics)]
    assert [row["lora_te"] for row in rates] == [5e-5, 5e-5, 0, 0]
    assert [row["lora_unet"] for row in rates] == [1e-4] * 4
    assert [plan.rate("lora_te", step) for step in range(4)] == [5e-5, 5e-5, 0, 0]


def test_a_text_encoder_that_has_ended_does_not_learn_again(tree: Tree) -> None:
    """A longer run would move the end behind the state: refused, unless the percentage is set to fit."""
    run = start_run(planned(tree, optimizer=HALF), quiet).run
    longer = {"training.epochs": 4}
    with pytest.raises(Problem, match=r"ended by step 4, .* up to step 8; set .*stop_text_encoder_training to 25 or"):
        resume_run(run, quiet, longer)
    outcome = resume_run(run, quiet, longer | {"optimizer.stop_text_encoder_training": 25.0})
    assert outcome.steps == 16


@pytest.mark.slow
def test_both_text_encoders_of_sdxl_end(tree: Tree, models: Callable[[str, str], Path]) -> None:
    rates = HALF | {"text_encoder_lr": 1e-3, "text_encoder_2_lr": 2e-3, "name": "AdamW"}
    plan = planned(
        tree, model={"path": str(models("sdxl", "folder"))}, optimizer=rates, training={"max_train_steps": 2}
    )
    trainer: Trainer = assemble(plan)
    kept: list[dict[str, Tensor]] = []
    for _ in trainer.updates():
        kept.append({name: tensor.detach().clone() for name, tensor in file_tensors(trainer.adapters).items()})
    for root in ("lora_te1", "lora_te2"):
        half, end = ({name: row for name, row in one.items() if name.startswith(root)} for one in kept)
        assert half
        assert same(half, end)
    assert not same(of_text(kept[0], False), of_text(kept[1], False))
