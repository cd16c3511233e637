"""LoRA on bordered weights and on narrow copies, against the operations that PyTorch differentiates."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tehon.adapters import bordered
from tehon.adapters.adapter import attach
from tehon.adapters.bordered import narrowed
from tehon.adapters.flat import FlatParameters, Narrow
from tehon.adapters.lora import Lora, joint

RANKS = (4, 8, 12)


def adapters_of(rank: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[Lora]:
    """Three that read the same input."""
    torch.manual_seed(rank)
    found: list[Lora] = []
    for _ in range(3):
        layer = nn.Linear(96, 64, device=device, dtype=dtype).requires_grad_(False)
        found.append(Lora(layer, {"lora_down.weight": (rank, 96), "lora_up.weight": (64, rank)}, alpha=2.0))
        for tensor in found[-1].factors():
            nn.init.normal_(tensor, std=0.1)
        attach(found[-1])
    return found


def flat_of(adapters: list[Lora]) -> FlatParameters:
    return FlatParameters({"all": [tensor for adapter in adapters for tensor in adapter.factors()]})


def learned(adapters: list[Lora], flat: FlatParameters, plainly: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and the gradients of input and weights, of the three together and of the first alone."""
    weight = adapters[0].layer.weight
    torch.manual_seed(9)
    x = torch.randn(2, 70, 96).to(weight).requires_grad_()
    given = torch.randn(2, 70, 64).to(weight)
    flat.gradients.zero_()
    with narrowed(flat):
        outs: Any = [adapter.plain(x) for adapter in adapters] if plainly else joint(adapters)(x)
        alone = adapters[0].plain(x) if plainly else adapters[0].forward(x)
        loss = sum((number + 1) * (out * given).sum() for number, out in enumerate([*outs, alone]))
        loss.backward()
    assert x.grad is not None
    return loss.detach(), x.grad, flat.gradients.clone()


def close(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], most: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one.float() - other.float()).norm() <= most * other.float().norm()


@pytest.mark.parametrize("rank", RANKS)
def test_bordered_weights_learn_the_same(rank: int, border_kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bordered, "_kernels", lambda _: border_kernels)
    adapters = adapters_of(rank)
    flat = flat_of(adapters)
    base = [adapter.layer.weight.clone() for adapter in adapters]
    wanted = learned(adapters, flat, plainly=True)
    flat.narrow = Narrow(flat, torch.float32)
    for adapter in adapters:
        adapter.compute_narrow(flat.narrow)
    assert not adapters[0].layer.weight.is_contiguous(), "it is a view of the bordered matrix"
    assert all(torch.equal(adapter.layer.weight, own) for adapter, own in zip(adapters, base, strict=True))
    close(learned(adapters, flat, plainly=False), wanted, 1e-6)
    flat.weights.mul_(1.5)  # as an update does
    changed = learned(adapters, flat, plainly=False)
    close(changed, learned(adapters, flat, plainly=True), 1e-6)
    assert abs(changed[0] - wanted[0]) > 1e-3 * abs(wanted[0])


def test_narrow_copies_change_no_bit() -> None:
    adapters = adapters_of(8, torch.bfloat16)
    flat = flat_of(adapters)
    cast = learned(adapters, flat, plainly=False)
    flat.narrow = Narrow(flat, torch.bfloat16)
    for adapter in adapters:
        adapter.compute_narrow(flat.narrow)
    copied = learned(adapters, flat, plainly=False)
    assert torch.equal(copied[0], cast[0])
    assert torch.equal(copied[1], cast[1])
    # the first adapter learns from two outputs, whose gradients are now added in 16 bits
    close((copied[2],), (cast[2],), 4e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cpu_has_no_copies(dtype: torch.dtype) -> None:
    flat = flat_of(adapters_of(4))
    flat.compute_in(dtype)
    assert flat.narrow is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize("rank", RANKS)
def test_on_a_card(rank: int) -> None:
    adapters = adapters_of(rank, torch.bfloat16, "cuda")
    flat = flat_of(adapters)
    wanted = learned(adapters, flat, plainly=True)
    flat.compute_in(torch.bfloat16)
    for adapter in adapters:
        adapter.compute_narrow(flat.narrow)
    assert flat.narrow is not None
    assert flat.narrow.followers
    close(learned(adapters, flat, plainly=False), wanted, 8e-3)
