"""Whole updates by our own operations against the ways that PyTorch differentiates: the same loss and gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

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
