"""The matrix of checks that every kind of adapter must pass: kind x layer x alpha x type."""

from typing import Any

import pytest
import torch
from torch import nn

from tehon.adapters.adapter import attach, detach, merge
from tehon.adapters.flat import FlatParameters
from tehon.adapters.lora import Lora

LAYERS = {
    "linear": lambda: (nn.Linear(6, 10), torch.randn(3, 6)),
    "conv 1x1": lambda: (nn.Conv2d(6, 10, 1), torch.randn(2, 6, 5, 5)),
    "conv 3x3 with stride": lambda: (nn.Conv2d(6, 10, 3, stride=2, padding=1), torch.randn(2, 6, 8, 8)),
}
matrix = pytest.mark.parametrize(
    ("kind", "alpha", "dtype"),
    [(kind, alpha, dtype) for kind in LAYERS for alpha in (4.0, 1.0) for dtype in (torch.float32, torch.bfloat16)],
)


def fresh(kind: str, alpha: float, dtype: torch.dtype) -> tuple[Any, torch.Tensor, Lora]:
    torch.manual_seed(3)
    layer, x = LAYERS[kind]()
    layer = layer.to(dtype).requires_grad_(False)
    adapter = Lora(layer, rank=4, alpha=alpha)
    adapter.initialise(torch.Generator().manual_seed(4))
    return layer, x.to(dtype), adapter


def trained(kind: str, alpha: float, dtype: torch.dtype) -> tuple[Any, torch.Tensor, Lora]:
    layer, x, adapter = fresh(kind, alpha, dtype)
    with torch.no_grad():
        adapter.up.copy_(torch.randn(adapter.up.shape))
    return layer, x, adapter


@matrix
def test_changes_nothing_at_the_start(kind: str, alpha: float, dtype: torch.dtype) -> None:
    layer, x, adapter = fresh(kind, alpha, dtype)
    before = layer(x)
    attach(adapter)
    assert torch.equal(layer(x), before)
    assert not adapter.delta().any()


@matrix
def test_detaching_leaves_no_trace(kind: str, alpha: float, dtype: torch.dtype) -> None:
    layer, x, adapter = trained(kind, alpha, dtype)
    before, attributes = layer(x), set(layer.__dict__)
    attach(adapter)
    assert not torch.equal(layer(x), before)
    detach(adapter)
    assert torch.equal(layer(x), before)
    assert set(layer.__dict__) == attributes


@matrix
def test_merged_equals_live(kind: str, alpha: float, dtype: torch.dtype) -> None:
    layer, x, adapter = trained(kind, alpha, dtype)
    attach(adapter)
    live = layer(x)
    detach(adapter)
    merge(adapter)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    assert torch.allclose(layer(x), live, rtol=tolerance, atol=tolerance)


@matrix
def test_delta_is_the_formula(kind: str, alpha: float, dtype: torch.dtype) -> None:
    """sum_r B[o, r] A[r, ...] * alpha / rank, element by element."""
    layer, _, adapter = trained(kind, alpha, dtype)
    up = adapter.up.reshape(adapter.up.shape[0], -1)
    expected = torch.einsum("or,r...->o...", up, adapter.down) * alpha / 4
    assert torch.allclose(adapter.delta(), expected, rtol=1e-5, atol=1e-6)
    assert adapter.delta().shape == layer.weight.shape


@matrix
def test_gradients_are_the_adapters_alone(kind: str, alpha: float, dtype: torch.dtype) -> None:
    layer, x, adapter = trained(kind, alpha, dtype)
    attach(adapter)
    layer(x).float().square().sum().backward()
    assert layer.weight.grad is None
    assert adapter.up.grad is not None
    assert adapter.up.grad.abs().sum() > 0


def test_a_layer_carries_one_adapter() -> None:
    _, _, adapter = fresh("linear", 4.0, torch.float32)
    attach(adapter)
    with pytest.raises(AssertionError):
        attach(adapter)


def test_down_starts_kaiming_uniform_and_up_zero() -> None:
    layer = nn.Linear(100, 400)
    adapter = Lora(layer, rank=64, alpha=64)
    adapter.initialise(torch.Generator().manual_seed(0))
    assert adapter.down.abs().max() <= 0.1
    assert adapter.down.detach().std() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert not adapter.up.any()


def test_strength_multiplies_the_change() -> None:
    _, _, adapter = trained("linear", 4.0, torch.float32)
    full = adapter.delta()
    adapter.multiplier = 0.5
    assert torch.allclose(adapter.delta(), full / 2)


def test_flat_buffers_are_the_parameters() -> None:
    _, x, adapter = trained("linear", 4.0, torch.float32)
    values = adapter.down.detach().clone()
    flat = FlatParameters({"one": list(adapter.parameters().values())})
    assert torch.equal(adapter.down, values)
    flat.weights.zero_()
    assert not adapter.down.any()
    flat.weights.fill_(0.5)
    attach(adapter)
    adapter.layer(x).sum().backward()
    assert adapter.down.grad is not None
    gradient = torch.cat([p.grad.flatten() for p in adapter.parameters().values() if p.grad is not None])
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
