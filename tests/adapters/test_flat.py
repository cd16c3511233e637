import pytest
import torch
from torch import nn

from tehon.adapters.adapter import attach, trainable
from tehon.adapters.flat import FlatParameters
from tehon.adapters.kinds import build


def test_flat_buffers_are_the_parameters() -> None:
    layer = nn.Linear(6, 10).requires_grad_(False)
    adapter = build(layer, {"lora_down.weight": (4, 6), "lora_up.weight": (10, 4)}, 4.0)
    adapter.initialise(torch.Generator().manual_seed(4))
    down = adapter.tensors["lora_down.weight"]
    values = down.detach().clone()
    flat = FlatParameters({"one": list(trainable(adapter).values())})
    assert torch.equal(down, values)
    flat.weights.zero_()
    assert not down.any()
    flat.weights.fill_(0.5)
    attach(adapter)
    layer(torch.randn(3, 6)).sum().backward()
    assert down.grad is not None
    gradient = torch.cat([p.grad.flatten() for p in trainable(adapter).values() if p.grad is not None])
    assert torch.equal(flat.gradients, gradient)
    assert torch.equal(flat.groups["one"].grad, flat.gradients)


def test_clipping_shortens_to_the_limit_and_zero_means_none() -> None:
    flat = FlatParameters({"one": [nn.Parameter(torch.zeros(4))]})
    flat.gradients.fill_(3.0)
    assert flat.clip(0) == pytest.approx(6.0)
    assert flat.gradients.norm() == pytest.approx(6.0)
    flat.clip(1.0)
    assert flat.gradients.norm() == pytest.approx(1.0, rel=1e-4)
    flat.gradients.fill_(0.1)
    flat.clip(1.0)
    assert flat.gradients.norm() == pytest.approx(0.2)
