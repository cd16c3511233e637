"""Every way to compute attention gives PyTorch's numbers and gradients."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tehon.families import attention
from tehon.families.attention import by_pieces, by_xformers, choose_attention


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("at_once", [2**24, 700])
def test_by_pieces_is_pytorchs_attention(masked: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_PRODUCTS", at_once)
    query, key, value = drawn(2, 3, 33, 8), drawn(2, 3, 21, 8), drawn(2, 3, 21, 8)
    bias = -10000.0 * (torch.arange(21) > torch.tensor([[9], [20]])).float()[:, None, None] if masked else None
    ways = by_pieces(query, key, value, bias), F.scaled_dot_product_attention(query, key, value, bias)
    assert (ways[0] - ways[1]).abs().max() < 1e-6
    pull = drawn(2, 3, 33, 8).detach()
    ours, theirs = (torch.autograd.grad(way, (query, key, value), pull) for way in ways)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() < 1e-6 * other.norm()


def test_pieces_keep_no_products(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(attention, "_PRODUCTS", 1000)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        by_pieces(drawn(1, 1, 128, 4), drawn(1, 1, 128, 4), drawn(1, 1, 128, 4))
    assert max(kept) == 128 * 4


@pytest.fixture
def xformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name whose attention is the plain formula in xformers' layout, (n, places, heads, d)."""

    def plain(query: Tensor, key: Tensor, value: Tensor, attn_bias: Tensor | None = None) -> Tensor:
        products = torch.einsum("nqhd,nkhd->nhqk", query, key) * query.shape[-1] ** -0.5
        products = products if attn_bias is None else products + attn_bias
        return torch.einsum("nhqk,nkhd->nqhd", products.softmax(-1), value)

    ops = ModuleType("xformers.ops")
    ops.memory_efficient_attention = plain  # type: ignore[attr-defined]
    package = ModuleType("xformers")
    package.__spec__ = ModuleSpec("xformers", None)
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)


@pytest.mark.usefixtures("xformers")
def test_xformers_is_given_its_own_layout() -> None:
    query, key, value = drawn(2, 3, 33, 8), drawn(2, 3, 21, 8), drawn(2, 3, 21, 8)
    bias = -10000.0 * (torch.arange(21) > torch.tensor([[9], [20]])).float()[:, None, None]
    for given in (None, bias):
        theirs = F.scaled_dot_product_attention(query, key, value, given)
        assert (by_xformers(query, key, value, given) - theirs).abs().max() < 1e-6


@pytest.mark.usefixtures("xformers")
def test_auto_takes_the_fastest_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_attention("auto", torch.device("cpu"), torch.float32) == "loops"
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert choose_attention("auto", torch.device("cpu"), dtype) == "sdpa"
    assert choose_attention("auto", torch.device("mps"), torch.float32) == "sdpa"
    assert choose_attention("mem_eff_attn", torch.device("cpu"), torch.float32) == "mem_eff_attn"
    for seconds, best in (({"by_xformers": 1.0}, "xformers"), ({"by_xformers": 3.0}, "sdpa")):
        monkeypatch.setattr(attention, "_seconds", lambda way, *_, s=seconds: s.get(way.__name__, 2.0))
        assert choose_attention("auto", torch.device("cuda"), torch.float16) == best
