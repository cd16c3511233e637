"""Batches as graphs: the same numbers as without. What needs a graphics card runs where there is one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training import assemble as assembling
from tehon.training.assemble import Trainer, assemble
from tehon.training.capture import Graphs, Plainly
from tehon.training.run import start_run
from tehon.weights.lora_file import read_lora

Tree = dict[str, Any]
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card of NVIDIA's")


class Copying:
    """What a graph does with its inputs, on any device: they are always where those of the first batch lay."""

    def __init__(self) -> None:
        self.places: dict[tuple[Any, ...], dict[str, Tensor]] = {}

    def run(self, function: Callable[[Mapping[str, Tensor]], Tensor], given: Mapping[str, Tensor]) -> Tensor:
        shapes = tuple((name, tensor.shape, tensor.dtype) for name, tensor in given.items())
        places = self.places.setdefault(shapes, {name: torch.empty_like(one) for name, one in given.items()})
        for name, tensor in given.items():
            places[name].copy_(tensor)
        return function(places)

    def forget(self) -> None:
        self.places.clear()


def trainer_of(tree: Tree, **changes: dict[str, Any]) -> Trainer:
    merged = {name: tree.get(name, {}) | changes.get(name, {}) for name in tree.keys() | changes.keys()}
    return assemble(make_plan(validate(merged)))


def learned(trainer: Trainer, steps: int | None = None) -> tuple[list[float], Tensor]:
    """The losses of some updates, and the weights after them."""
    losses: list[float] = []
    updates = trainer.updates()
    while trainer.state.step < (trainer.plan.steps if steps is None else steps):
        losses.append(float(next(updates).loss))
    updates.close()
    return losses, trainer.state.flat.weights.clone()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"text_encoder_lr": 1e-3, "stop_text_encoder_training": 50.0}, "training": {"epochs": 2}},
        {"objective": {"noise_offset": 0.1, "ip_noise_gamma": 0.1, "min_snr_gamma": 5.0, "loss_type": "huber"}},
        {"training": {"gradient_accumulation_steps": 2}, "memory": {"gradient_checkpointing": "whole"}},
        {"precision": {"mixed_precision": "fp16"}, "text": {"no_token_padding": True, "weighted_captions": True}},
    ],
    ids=["plain", "text that ends", "objective", "accumulated", "fp16"],
)
def test_batches_that_are_copied_to_one_place_are_learned_to_the_last_bit(tree: Tree, changes: Tree) -> None:
    losses, weights = learned(trainer_of(tree, **changes))
    copied = trainer_of(tree, **changes)
    runner = Copying()
    copied.learning = replace(copied.learning, runner=runner)
    again, same = learned(copied)
    assert len(set(losses)) > 1
    assert again == losses
    assert torch.equal(weights, same)
    assert runner.places, "batches went another way"


def test_a_cpu_has_no_graphs(tree: Tree) -> None:
    assert isinstance(trainer_of(tree).learning.runner, Plainly)
    with pytest.raises(Problem) as found:
        trainer_of(tree, training={"cuda_graphs": "on"})
    assert (
        str(found.value)
        == "training.cuda_graphs: CUDA graphs run on NVIDIA's graphics cards, not on cpu; set auto or off."
    )


@pytest.mark.parametrize(
    "network", [{"dropout": 0.1}, {"rank_dropout": 0.1}, {"module_dropout": 0.1}, {"kind": "dylora"}]
)
def test_adapters_that_draw_are_not_captured_and_it_is_said(tree: Tree, network: Tree) -> None:
    notices: list[str] = []
    card = torch.device("cuda")

    def runner(wanted: str) -> Any:
        own = {"network": {"rank": 4, "alpha": 4.0} | network, "training": {"seed": 5, "cuda_graphs": wanted}}
        return assembling._runner(make_plan(validate(tree | own)), card, notices.append)

    assert isinstance(runner("auto"), Plainly)
    said = "CUDA graphs are not used: with dropout or DyLoRA the adapters do not compute the same at each step."
    assert notices == [said]
    with pytest.raises(Problem, match=r"training\.cuda_graphs: with dropout or DyLoRA"):
        runner("on")


def test_off_is_quiet(tree: Tree) -> None:
    notices: list[str] = []
    plan = make_plan(validate(tree | {"training": {"seed": 5, "cuda_graphs": "off"}, "network": {"dropout": 0.1}}))
    assert isinstance(assembling._runner(plan, torch.device("cuda"), notices.append), Plainly)
    assert notices == []


CARD: dict[str, dict[str, Any]] = {"training": {"seed": 5, "device": "cuda", "epochs": 3, "cuda_graphs": "on"}}
HALF = CARD | {"precision": {"mixed_precision": "bf16"}, "optimizer": {"text_encoder_lr": 0.0}}


@cuda
@pytest.mark.parametrize("changes", [HALF, HALF | {"network": {"rank": 8, "alpha": 8.0, "dora": True}}])
def test_graphs_learn_what_kernels_learn(tree: Tree, changes: Tree) -> None:
    losses, weights = learned(trainer_of(tree, **changes))
    off = changes | {"training": changes["training"] | {"cuda_graphs": "off"}}
    plain, same = learned(trainer_of(tree, **off))
    assert losses == pytest.approx(plain, rel=1e-5)
    assert (weights - same).norm() < 1e-6 * same.norm()


@cuda
def test_a_run_that_goes_on_with_graphs_learns_what_a_straight_one_learns(tree: Tree) -> None:
    _, straight = learned(trainer_of(tree, **HALF))
    first, second = trainer_of(tree, **HALF), trainer_of(tree, **HALF)
    learned(first, 5)
    second.state.load_state_dict(first.state.state_dict())
    _, found = learned(second)
    assert (found - straight).norm() < 1e-6 * straight.norm()


@cuda
def test_a_run_on_a_card_ends_with_its_lora(tree: Tree) -> None:
    told: list[str] = []
    plan = make_plan(validate(tree | CARD))
    outcome = start_run(plan, lambda name, facts: told.append(str(facts)) if name == "notice" else None)
    assert outcome.lora is not None
    assert read_lora(Path(outcome.lora)).keys() == {module.name for module in plan.modules}
    assert not any("graph" in notice for notice in told)


@cuda
def test_what_asks_for_a_number_goes_on_without_graphs_and_says_so() -> None:
    notices: list[str] = []
    card, x = torch.device("cuda"), {"x": torch.full((3,), 2.0, device="cuda")}
    graphs = Graphs(card, notices.append)
    state = torch.cuda.get_rng_state()

    def asks(given: Mapping[str, Tensor]) -> Tensor:
        return given["x"] * given["x"].sum().item()

    assert [float(graphs.run(asks, x)[0]) for _ in range(3)] == [12.0] * 3
    assert len(notices) == 1
    assert notices[0].startswith("CUDA graphs are not used from here on")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    torch.rand(2, device="cuda")
    must = Graphs(card, notices.append, must=True)
    must.run(asks, x)
    with pytest.raises(Problem, match=r"training\.cuda_graphs: a batch of this training can't be captured"):
        must.run(asks, x)
