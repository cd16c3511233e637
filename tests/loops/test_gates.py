"""Gates as loops, against exact values in 64 bits."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import Tensor

from tehon.frozen import by_loops
from tehon.frozen.lean import make_lean
from tehon.frozen.pointwise import gate


def exactly(projected: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
    given = projected.detach().double().requires_grad_()
    h, g = given.chunk(2, -1)
    out = h * F.gelu(g)
    return out.detach(), torch.autograd.grad(out, given, pull.double())[0]


def found(projected: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
    given = projected.detach().requires_grad_()
    out = gate(given)
    return out.detach(), torch.autograd.grad(out, given, pull)[0]


@pytest.mark.parametrize("shape", [(1, 2), (3, 5, 14), (2, 300, 2 * 128), (1, 1024, 2 * 256), (7, 2 * 33)])
def test_gates_and_their_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    projected, pull = 3 * torch.randn(shape), torch.randn(*shape[:-1], shape[-1] // 2)
    for ours, exact in zip(found(projected, pull), exactly(projected, pull), strict=True):
        assert ours.shape == exact.shape
        assert (ours - exact).abs().max() < 1e-6 * max(1.0, exact.abs().max())


def test_what_is_far_out_is_open_or_shut() -> None:
    g = torch.tensor([-1e30, -200.0, -20.0, 0.0, 20.0, 200.0, 1e30])
    projected = torch.cat([torch.full_like(g, 2.0), g])[None]
    (out,), (gradient,) = found(projected, torch.ones(1, 7))
    assert torch.equal(out, 2 * g.clamp(min=0.0))
    assert torch.equal(gradient[:7], g.clamp(min=0.0))
    assert torch.equal(gradient[7:], 2 * (g > 0).float() + (g == 0))


@pytest.mark.parametrize("place", [0, 5])
def test_nan_stays(place: int) -> None:
    projected = torch.ones(2, 8)
    projected[1, place] = torch.nan
    out, gradient = found(projected, torch.ones(2, 4))
    assert out.isnan().sum() == 1
    assert out[1, place % 4].isnan()
    assert gradient[1].isnan().any()
    assert not gradient[0].isnan().any()


def test_two_threads_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(by_loops, "_ALONE", 0)
    projected, pull = torch.randn(3, 77, 2 * 40), torch.randn(3, 77, 40)
    results: list[tuple[Tensor, Tensor]] = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(found(projected, pull))
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_a_gradient_that_lies_in_another_order() -> None:
    torch.manual_seed(0)
    projected, pull = torch.randn(4, 6, 10), torch.randn(6, 4, 5).transpose(0, 1)
    assert not pull.is_contiguous()
    assert (found(projected, pull)[1] - exactly(projected, pull)[1]).abs().max() < 1e-6


def test_a_transformers_gate_keeps_its_input_alone() -> None:
    torch.manual_seed(0)
    module = GEGLU(6, 20).requires_grad_(False)
    x = torch.randn(2, 9, 6, requires_grad=True)
    wanted = module(x)
    make_lean(module)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        out = module(x)
    assert (out - wanted).abs().max() < 1e-6
    wide = [one for one in kept if one.shape[:2] == (2, 9) and one.shape[-1] > 6]
    assert [one.shape[-1] for one in wide] == [40]
