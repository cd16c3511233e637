"""Gates and norms that keep little, against PyTorch's, whose numbers and gradients are the oracle."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tehon.again import again_of, pays
from tehon.frozen import pointwise
from tehon.frozen.pointwise import gate, layer_norm, norm_silu, normed_beside, sum_with_bias

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no card"))]


@pytest.fixture(autouse=True)
def _paying(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made again on a graphics card is so here too, but in the test of that."""
    monkeypatch.setattr(pointwise, "pays", lambda device: True)


def drawn_norm(norm: nn.GroupNorm | nn.LayerNorm) -> None:
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.requires_grad_(False)


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).norm() < 1e-6 * wanted.norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize(("channels", "height", "width"), [(64, 9, 8), (960, 3, 5), (320, 16, 16)])
def test_group_norm_with_what_is_around_it(channels: int, height: int, width: int, silu: bool, device: str) -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(32, channels).to(device)
    drawn_norm(norm)
    x = (2 * torch.randn(2, channels, height, width, device=device) + 5).requires_grad_()
    shift = torch.randn(2, channels, device=device)
    # a slice of channels, as the backward of a concatenation gives
    wide = torch.randn(2, channels + 16, height, width, device=device).to(memory_format=torch.channels_last)
    out = norm_silu(norm, x, shift, silu=silu)
    wanted = norm(x + shift[:, :, None, None])
    wanted = F.silu(wanted) if silu else wanted
    close(out, wanted)
    given = wide[:, 8 : channels + 8]
    close(*(torch.autograd.grad(one, x, given)[0] for one in (out, wanted)))


@pytest.mark.parametrize("device", DEVICES)
def test_gate_is_geglu_and_is_made_again(device: str) -> None:
    torch.manual_seed(0)
    projected = torch.randn(3, 5, 2 * 70, device=device, requires_grad=True)
    out = gate(projected)
    h, g = projected.chunk(2, -1)
    wanted = h * F.gelu(g)
    close(out, wanted)
    given = torch.randn_like(wanted)
    close(*(torch.autograd.grad(one, projected, given)[0] for one in (out, wanted)))
    again = again_of(out)
    assert again is not None
    assert torch.equal(again.make(*again.of), out)
    assert not any(one.requires_grad for one in again.of)
    assert again_of(out + 0) is None


@pytest.mark.parametrize("device", DEVICES)
def test_layer_norm_is_made_again(device: str) -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(70).to(device)
    drawn_norm(norm)
    x = (torch.randn(3, 5, 70, device=device) + 3).requires_grad_()
    out, wanted = layer_norm(norm, x), norm(x)
    close(out, wanted)
    given = torch.randn_like(wanted)
    close(*(torch.autograd.grad(one, x, given)[0] for one in (out, wanted)))
    again = again_of(out)
    assert again is not None
    assert torch.equal(again.make(*again.of), out)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("read", ["both", "norm", "around"])
def test_gradients_of_a_norm_and_of_what_goes_around_it_meet(read: str, device: str) -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(70).to(device)
    drawn_norm(norm)
    x = (torch.randn(3, 5, 70, device=device) + 3).requires_grad_()
    given, other = torch.randn(2, 3, 5, 70, device=device)
    losses: list[Tensor] = []
    for normed, around in (normed_beside(norm, x), (norm(x), x)):
        parts = {"norm": (normed * given).sum(), "around": (around * other).sum()}
        losses.append(parts[read] if read != "both" else parts["norm"] + parts["around"])
    close(*(torch.autograd.grad(loss, x)[0] for loss in losses))


@pytest.mark.parametrize("device", DEVICES)
def test_a_norm_takes_rows_however_they_lie(device: str) -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(70).to(device)
    drawn_norm(norm)
    whole = torch.randn(3, 140, 5, device=device)
    given = torch.randn(3, 5, 70, device=device)
    for x in (whole[:, :70].transpose(1, 2), whole.view(3, 5, 140)[..., :70]):
        x = x.detach().requires_grad_()
        out, wanted = layer_norm(norm, x), norm(x)
        close(out, wanted)
        close(*(torch.autograd.grad((one * given).sum(), x)[0] for one in (out, wanted)))


@pytest.mark.parametrize("device", DEVICES)
def test_a_sum_takes_a_bias_along(device: str) -> None:
    torch.manual_seed(0)
    one, other = (torch.randn(2, 24, 3, 5, device=device, requires_grad=True) for _ in range(2))
    bias, given = torch.randn(24, device=device), torch.randn(2, 24, 3, 5, device=device)
    out = sum_with_bias(one, other, bias)
    close(out, one + other + bias[:, None, None])
    assert all(torch.equal(found, given) for found in torch.autograd.grad(out, (one, other), given))
    assert torch.equal(sum_with_bias(one, other, None), one + other)


def test_on_a_cpu_nothing_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "pays", pays)
    norm, x = nn.LayerNorm(70).requires_grad_(False), torch.randn(3, 5, 70, requires_grad=True)
    assert again_of(gate(x)) is None
    out, same = normed_beside(norm, x)
    assert again_of(out) is None
    assert torch.equal(out, norm(x))
    assert same is x
    assert pays(torch.device("cuda"))
