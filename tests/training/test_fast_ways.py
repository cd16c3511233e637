"""Whole updates by our own operations against the ways that PyTorch differentiates: the same loss and gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tehon.adapters import bordered
from tehon.adapters.flat import FlatParameters, Narrow
from tehon.adapters.lora import Lora
from tehon.frozen.convolution import FrozenConv2d
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training import assemble as assembling
from tehon.training.assemble import Trainer, assemble


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "pictures" / "1_thing"
    folder.mkdir(parents=True)
    Image.effect_noise((128, 128), 90).convert("RGB").save(folder / "0.png")
    return {
        "model": {"path": "demo"},
        "data": {"folder": str(folder.parent), "resolution": 128},
        "training": {"seed": 1, "device": "cpu"},
        "output": {"folder": str(tmp_path)},
    }


def learned(trainer: Trainer) -> tuple[Tensor, Tensor]:
    """Loss and gradients of a first update, from adapters that already change something."""
    generator = torch.Generator().manual_seed(3)
    flat = trainer.state.flat
    flat.weights.copy_(0.05 * torch.randn(flat.weights.shape, generator=generator))
    epoch, batches = trainer.plan.group(0)
    loss = trainer.step.losses_of(epoch, batches[0]).mean()
    loss.backward()
    return loss.detach(), flat.gradients.clone()


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lora, "branch", lambda *_: None)
    monkeypatch.setattr(assembling, "freeze_convolutions", lambda *_: None)
    monkeypatch.setattr(assembling, "freeze_linears", lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [{}, {"gradient_checkpointing": "whole"}], ids=["kept", "computed again"])
def test_the_same_loss_and_gradients(
    tree: dict[str, Any], memory: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(validate(tree | {"memory": memory}))
    ours = learned(assemble(plan))
    plainly(monkeypatch)
    plain = learned(assemble(plan))
    assert plain[1].norm() > 0
    assert (ours[0] - plain[0]).abs() < 1e-5 * plain[0]
    assert (ours[1] - plain[1]).norm() < 2e-5 * plain[1].norm()


@pytest.mark.slow
@pytest.mark.parametrize("memory", [{}, {"gradient_checkpointing": "whole"}], ids=["kept", "computed again"])
def test_the_ways_of_a_graphics_card_learn_the_same(
    tree: dict[str, Any], memory: dict[str, str], border_kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lean blocks, narrow copies and bordered weights together, in float32 on the CPU."""
    plan = make_plan(validate(tree | {"memory": memory}))
    wanted = learned_through(assemble(plan))
    monkeypatch.setattr(bordered, "_kernels", lambda _: border_kernels)
    monkeypatch.setattr(assembling, "_freeze", assembling._lean)
    monkeypatch.setattr(
        FlatParameters, "compute_in", lambda flat, _: setattr(flat, "narrow", Narrow(flat, torch.float32))
    )
    trainer = assemble(plan)
    assert trainer.state.flat.narrow is not None
    assert len(trainer.state.flat.narrow.followers) == len(trainer.state.flat.narrow.views)
    found = learned_through(trainer)
    assert (found[0] - wanted[0]).abs() < 1e-5 * wanted[0]
    assert (found[1] - wanted[1]).norm() < 2e-5 * wanted[1].norm()


def learned_through(trainer: Trainer) -> tuple[Tensor, Tensor]:
    """Loss and gradients of a first batch, as the loop learns it."""
    generator = torch.Generator().manual_seed(3)
    flat = trainer.state.flat
    flat.weights.copy_(0.05 * torch.randn(flat.weights.shape, generator=generator))
    epoch, batches = trainer.plan.group(0)
    return trainer.learning.learn(epoch, batches[0], (0, len(batches[0].reads))), flat.gradients.clone()


def test_the_trainer_uses_them(tree: dict[str, Any]) -> None:
    unet = assemble(make_plan(validate(tree))).parts.unet
    kinds = {type(module) for module in unet.modules() if isinstance(module, nn.Conv2d)}
    assert kinds == {FrozenConv2d}
    attentions = [module for module in unet.modules() if hasattr(module, "to_q")]
    assert attentions
    assert all("together" in module.__dict__ for module in attentions)


def test_other_kinds_of_adapters_are_not_joined(tree: dict[str, Any]) -> None:
    unet = assemble(make_plan(validate(tree | {"network": {"kind": "lokr"}}))).parts.unet
    assert not any("together" in module.__dict__ for module in unet.modules())
