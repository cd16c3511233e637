"""A trainer on the demo model, with adapters that do something, and one fixed batch."""

from typing import Any

import pytest
import torch

from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble


@pytest.fixture
def trainer(tree: dict[str, Any]) -> Trainer:
    """Up matrices drawn as well, since a fresh LoRA changes nothing."""
    trainer = assemble(make_plan(validate(tree)))
    generator = torch.Generator().manual_seed(1)
    for layers in trainer.adapters.values():
        for adapter in layers.values():
            with torch.no_grad():
                adapter.up.copy_(0.3 * torch.randn(adapter.up.shape, generator=generator))
    return trainer
