"""Products by oneDNN and by PyTorch's own library against those in float64, and when which is used."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tehon.frozen import linear as frozen_linear
from tehon.frozen.linear import FrozenLinear, freeze_linears
from tehon.machine import products
from tehon.machine.products import add_product, each_times, linear, onednn_is_faster, times

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
CLOSE = 1e-6


class Given:
    """What oneDNN is given, as (rows, between, columns)."""

    def __init__(self, faster: bool) -> None:
        self.faster = faster
        self.sizes: list[tuple[int, ...]] = []

    def only(self, *sizes: tuple[int, ...]) -> bool:
        """Whether it was these, and nothing where oneDNN is not the faster one."""
        return self.sizes == (list(sizes) if self.faster else [])


@pytest.fixture(params=[True, False], ids=["oneDNN", "usual"])
def given(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Given:
    """On a processor for which oneDNN is faster, and on one for which it is not, whatever this machine has."""
    found, own = Given(request.param), products.by_onednn

    def noted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        found.sizes.append((*x.shape, len(weight)))
        return own(x, weight, bias)

    monkeypatch.setattr(products, "by_onednn", noted)
    for module in (products, frozen_linear):
        monkeypatch.setattr(module, "onednn_is_faster", lambda: request.param)
    return found


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).norm() < CLOSE * wanted.norm()


@torch.no_grad()
def test_a_product_whatever_lies_turned_around(given: Given) -> None:
    torch.manual_seed(0)
    left, right, bias = torch.randn(3, 70, 130), torch.randn(130, 90), torch.randn(90)
    wanted = left.double() @ right.double()
    for one in (left, left.transpose(0, 1).contiguous().transpose(0, 1)):
        for other in (right, right.t().contiguous().t()):
            close(times(one, other), wanted)
            close(linear(one, other.t(), bias), wanted + bias)
    assert given.only(*[(3, 70, 130, 90)] * 8)


@torch.no_grad()
def test_products_pair_by_pair(given: Given) -> None:
    torch.manual_seed(1)
    left, right = torch.randn(3, 150, 130), torch.randn(3, 120, 130).transpose(1, 2)
    close(each_times(left, right), left.double() @ right.double())
    assert given.only(*[(150, 130, 120)] * 3)


@torch.no_grad()
@pytest.mark.parametrize(
    ("rows", "between", "columns", "turned", "sizes"),
    [
        (640, 512, 8, True, [(8, 512, 640)]),  # gᵀ h
        (8, 512, 640, True, []),  # hᵀ x
        (64, 512, 640, True, [(64, 512, 640)]),
        (640, 64, 512, False, [(640, 64, 512)]),  # h Bᵀ
        (640, 8, 512, False, []),
        (320, 200, 8, True, []),  # the first with less, for which one call of MKL takes longer than two
    ],
)
def test_a_product_is_added(
    given: Given, rows: int, between: int, columns: int, turned: bool, sizes: list[Any]
) -> None:
    torch.manual_seed(2)
    left = torch.randn(between, rows).t() if turned else torch.randn(rows, between)
    place, right = torch.randn(rows, columns), torch.randn(between, columns)
    wanted = place.double() + 0.5 * left.double() @ right.double()
    assert add_product(place, left, right, 0.5) is place
    close(place, wanted)
    assert given.only(*sizes)


@torch.no_grad()
def test_a_matrix_cut_out_of_a_wider_one_is_not_left_to_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN has a plain loop for a weight with gaps between its rows."""
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    weights: list[Tensor] = []
    own = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *words: weights.append(words[1]) or own(*words))
    torch.manual_seed(4)
    left, wide = torch.randn(128, 256), torch.randn(256, 300)
    close(times(left, wide[:, 20:200]), left.double() @ wide[:, 20:200].double())
    assert [one.is_contiguous() for one in weights] == [True]


def test_small_products_other_types_and_what_is_differentiated_are_not_for_onednn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(products, "by_onednn", lambda *_: pytest.fail("by oneDNN"))
    large = torch.ones(256, 256)
    with torch.no_grad():
        times(large[:8], large)
        times(large.double(), large.double())
        times(large.bfloat16(), large.bfloat16())
    learning = large.clone().requires_grad_()
    times(large, learning).sum().backward()
    assert learning.grad is not None
    assert learning.grad.unique().tolist() == [256]


@pytest.mark.parametrize("bias", [False, True])
def test_a_frozen_layer_gives_the_output_and_the_gradient_of_its_input(given: Given, bias: bool) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(160, 192, bias=bias), nn.Linear(192, 160, bias=bias)).requires_grad_(False)
    x = torch.randn(2, 80, 160, requires_grad=True)
    towards = torch.randn(2, 80, 160)

    def learned() -> tuple[Tensor, Tensor]:
        out = network(x)
        return out.detach(), torch.autograd.grad(out, x, towards)[0]

    wanted = learned()
    freeze_linears(network)
    for found, plain in zip(learned(), wanted, strict=True):
        assert (found - plain).norm() < CLOSE * plain.norm()
    assert type(network[0]) is (FrozenLinear if given.faster else nn.Linear)
    assert given.only((2, 80, 160, 192), (2, 80, 192, 160), (2, 80, 160, 192), (2, 80, 192, 160))


def test_small_inputs_of_a_frozen_layer_go_the_usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (products, frozen_linear):
        monkeypatch.setattr(module, "onednn_is_faster", lambda: True)
    for name in ("linear", "times"):
        monkeypatch.setattr(frozen_linear, name, lambda *_: pytest.fail("by an operation of our own"))
    layer = nn.Linear(16, 16).requires_grad_(False)
    wanted = layer(torch.ones(77, 16))
    freeze_linears(layer)
    assert torch.equal(layer(torch.ones(77, 16)), wanted)


def test_a_layer_that_learns_again_has_the_gradient_of_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_linear, "onednn_is_faster", lambda: True)
    layer = nn.Linear(160, 160)
    freeze_linears(layer)
    layer(torch.ones(100, 160)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.unique().tolist() == [100]


def test_which_is_faster_follows_from_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for of_amd in (True, False):
        monkeypatch.setattr(products, "amd_with_avx512", lambda found=of_amd: found)
        assert onednn_is_faster.__wrapped__() is of_amd
    monkeypatch.setattr(products, "amd_with_avx512", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not onednn_is_faster.__wrapped__()
