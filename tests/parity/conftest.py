"""A trainer on the demo model, with adapters that do something."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble


def stirred(tree: dict[str, Any]) -> Trainer:
    """A trainer whose adapters have drawn values in all their tensors, since fresh ones change nothing."""
    trainer = assemble(make_plan(validate(tree)))
    generator = torch.Generator().manual_seed(1)
    for layers in trainer.adapters.values():
        for adapter in layers.values():
            with torch.no_grad():
                for name, tensor in adapter.tensors.items():
                    size = 0.05 * tensor if name == "dora_scale" else 0.3 if name == "lora_up.weight" else 0.1
                    tensor.add_(size * torch.randn(tensor.shape, generator=generator))
    return trainer


@pytest.fixture
def stir() -> Callable[[dict[str, Any]], Trainer]:
    return stirred


@pytest.fixture
def trainer(tree: dict[str, Any]) -> Trainer:
    return stirred(tree)
