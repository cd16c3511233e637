"""Frozen convolutions of ours against PyTorch's, whose numbers and gradients are the oracle."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tehon.frozen import convolution
from tehon.frozen.convolution import FrozenConv2d, freeze_convolutions
from tehon.frozen.winograd import F4
from tehon.machine import products

CLOSE = 5e-6


def both(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and the input's gradient."""
    x = x.detach().clone().requires_grad_()
    out = layer(x)
    (gradient,) = torch.autograd.grad(out, x, torch.linspace(-1, 2, out.numel()).view(out.shape))
    return out.detach(), gradient


def same(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= CLOSE * other.norm()


def frozen(layer: nn.Conv2d, most_bytes: int = 2**30) -> Any:
    freeze_convolutions(nn.Sequential(layer), most_bytes)
    return layer


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that multiplies as fast with MKL, whatever this machine has."""
    for module in (convolution, products):
        monkeypatch.setattr(module, "onednn_is_faster", lambda: False)


# (in, out, kernel, stride, padding), side, how it is computed
CASES: list[tuple[tuple[int, int, int, int, int], int, str]] = [
    ((96, 80, 3, 1, 1), 8, "columns"),
    ((96, 80, 3, 1, 1), 21, "winograd"),
    ((96, 80, 3, 2, 1), 9, "columns"),
    ((96, 80, 3, 2, 0), 9, "columns"),
    ((256, 264, 1, 1, 0), 5, "columns"),
    ((96, 80, 3, 2, 1), 100, "library"),
    ((96, 4, 3, 1, 1), 8, "library"),
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("bias", [False, True], ids=["without bias", "with bias"])
@pytest.mark.parametrize(("geometry", "side", "way"), CASES)
def test_same_output_and_gradient(
    geometry: tuple[int, int, int, int, int], side: int, way: str, bias: bool, channels_last: bool
) -> None:
    torch.manual_seed(0)
    wide, out, kernel, stride, padding = geometry
    layer = nn.Conv2d(wide, out, kernel, stride, padding, bias=bias).requires_grad_(False)
    x = torch.randn(2, wide, side, side + 1)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = both(layer, x)
    ours = frozen(layer)
    assert ours.way(x) == way
    same(both(ours, x), wanted)
    with torch.no_grad():
        same((ours(x),), (wanted[0],))


def test_where_onednn_is_faster_it_computes_what_has_few_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (convolution, products):
        monkeypatch.setattr(module, "onednn_is_faster", lambda: True)
    for channels, way in ((248, "library"), (256, "winograd")):
        layer = nn.Conv2d(channels, 256, 3, padding=1).requires_grad_(False)
        x = torch.randn(2, channels, 21, 22)
        wanted = both(layer, x)
        ours = frozen(layer)
        assert ours.way(x) == way
        same(both(ours, x), wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize(("stride", "side"), [(1, 8), (2, 8), (2, 9)])
def test_a_card_gives_the_same_gradient(stride: int, side: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 32, 3, stride, 1).requires_grad_(False).cuda().double()
    x = torch.randn(2, 64, side, side + 1).cuda().double()
    x, given = x.requires_grad_(), torch.linspace(-1, 2, layer(x).numel()).cuda().double()
    wanted = torch.autograd.grad(layer(x), x, given.view(layer(x).shape))[0]
    out = frozen(layer)(x)
    found = torch.autograd.grad(out, x, given.view(out.shape).contiguous(memory_format=torch.channels_last))[0]
    assert (found - wanted).norm() < 1e-12 * wanted.norm()


def test_a_bias_can_be_left_out() -> None:
    torch.manual_seed(0)
    for side in (8, 21, 100):
        layer = nn.Conv2d(96, 80, 3, padding=1).requires_grad_(False)
        x = torch.randn(1, 96, side, side, requires_grad=True)
        assert layer.bias is not None
        wanted = layer(x) - layer.bias[:, None, None]
        same((frozen(layer).convolved(x, None),), (wanted,))


@pytest.mark.parametrize("size", [(4, 4), (9, 7), (16, 33)])
def test_winograd_is_the_convolution_and_its_transpose(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 40, 3, padding=1, bias=False).requires_grad_(False)
    x = torch.randn(2, 24, *size)
    wanted = both(layer, x)
    transformed = F4.weights(layer.weight)
    gradient = torch.linspace(-1, 2, wanted[0].numel()).view(wanted[0].shape)
    out = F4.forward(x.permute(0, 2, 3, 1), transformed).permute(0, 3, 1, 2)
    back = F4.backward(gradient.permute(0, 2, 3, 1), transformed).permute(0, 3, 1, 2)
    same((out, back), wanted)


def test_winograd_at_the_sizes_of_stable_diffusion() -> None:
    """Rounding grows with the number of channels and not much: 320 of them at 32 x 32."""
    torch.manual_seed(0)
    layer = nn.Conv2d(320, 320, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 320, 32, 32)
    wanted = both(layer, x)
    ours = frozen(layer)
    assert ours.way(x) == "winograd"
    same(both(ours, x), wanted)


def test_nothing_of_the_input_is_kept() -> None:
    kept: list[Tensor] = []
    layers = [frozen(nn.Conv2d(96, 80, 3, padding=1).requires_grad_(False)) for _ in range(2)]
    x = torch.randn(1, 96, 21, 21, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        for layer, side in zip(layers, (21, 8), strict=True):
            layer(x[..., :side, :side])
    assert kept == []


def test_transformed_weights_stay_below_the_limit() -> None:
    """The smallest layers are served first, as they have the largest maps."""
    layers = [nn.Conv2d(wide, 80, 3, padding=1) for wide in (106, 94, 100)]
    freeze_convolutions(nn.Sequential(*layers), most_bytes=36 * 80 * (94 + 100) * 4)
    assert [isinstance(layer, FrozenConv2d) and layer.may_transform for layer in layers] == [False, True, True]


def test_a_changed_weight_is_transformed_again() -> None:
    torch.manual_seed(0)
    layer = frozen(nn.Conv2d(96, 80, 3, padding=1).requires_grad_(False))
    x = torch.randn(1, 96, 32, 32)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(2.0)
        layer.bias.mul_(2.0)
    torch.testing.assert_close(layer(x), 2 * before)


def test_layers_that_are_no_plain_convolutions_stay_as_they_are() -> None:
    layers = [nn.Conv2d(96, 96, 3, padding=1, groups=2), nn.Conv2d(96, 80, 3, dilation=2), nn.Linear(3, 4)]
    freeze_convolutions(nn.Sequential(*layers), 2**30)
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.Conv2d, nn.Linear]


def test_one_that_learns_is_differentiated_by_pytorch() -> None:
    """Other libraries make layers of the class that they find, and train them."""
    layer = FrozenConv2d(96, 80, 3, padding=1)
    layer(torch.randn(1, 96, 8, 8)).sum().backward()
    assert layer.weight.grad is not None
