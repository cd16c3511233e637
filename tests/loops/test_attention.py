"""Attention by loops against PyTorch's, in float64 where rounding is asked about."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tehon.families import attention

CLOSE = 2e-6
SHAPES = {  # (n, heads, places, other places, d)
    "one place sees one": (1, 1, 1, 1, 8),
    "whole tiles": (1, 2, 128, 128, 64),
    "a text": (2, 3, 100, 77, 40),
    "one key": (1, 2, 33, 1, 13),
    "one more than a tile": (2, 1, 129, 65, 8),
    "one less than a tile": (1, 3, 127, 63, 13),
    "several tiles of keys": (1, 2, 50, 300, 40),
    "several tiles of both": (2, 2, 300, 301, 8),
    "the widest heads": (1, 2, 70, 131, 160),
}


def by_loops(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """With the heads apart, as PyTorch has them."""
    rows = (x.transpose(1, 2).flatten(2) for x in (query, key, value))
    return attention.by_loops(*rows, query.shape[1], bias).unflatten(-1, (query.shape[1], -1)).transpose(1, 2)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(count: int, heads: int, places: int, others: int, d: int) -> list[Tensor]:
    return [drawn(count, heads, size, d, seed=seed) for seed, size in enumerate((places, others, others))]


def learned(attend: attention.Attend, given: list[Tensor]) -> list[Tensor]:
    """Output, and gradients for a loss that weighs every number."""
    given = [one.detach().requires_grad_() for one in given]
    query, key, value = given
    out = attend(query, key, value, None)
    pull = drawn(*out.shape, seed=9).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, given, pull)]


def plain(given: list[Tensor]) -> list[Tensor]:
    return learned(F.scaled_dot_product_attention, [one.double() for one in given])


def error(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest, relative to the length of what is wanted, and where that is zero but for rounding, of the last."""
    assert [one.shape for one in found] == [one.shape for one in wanted]
    lengths = [float((one if one.norm() > 1e-6 else wanted[-1]).norm()) for one in wanted]
    return max(float((one - other).norm()) / size for one, other, size in zip(found, wanted, lengths, strict=True))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """On how many threads what small tasks there are is shared."""
    used: list[int] = []
    own = attention.share
    monkeypatch.setattr(attention, "_ALONE", 0)

    def share(loop: Any, tasks: int, count: int, *given: Tensor) -> None:
        used.append(count)
        own(loop, tasks, count, *given)

    monkeypatch.setattr(attention, "share", share)
    return used


@pytest.mark.parametrize("name", SHAPES)
def test_outputs_and_gradients_are_pytorchs(name: str) -> None:
    given = inputs(*SHAPES[name])
    assert error(learned(by_loops, given), plain(given)) < CLOSE


def test_every_weight_is_as_exact_as_a_number_of_32_bits() -> None:
    """Of two keys the second is seen with a weight of 1 / (1 + eˢ), for scores s over more than two powers of 2."""
    scores = torch.linspace(-1, 2, 500)
    keys = torch.tensor([0.0, -1.0])
    found = by_loops(scores.view(1, 1, 500, 1), keys.view(1, 1, 2, 1), -keys.view(1, 1, 2, 1)).flatten()
    assert (found * (1 + scores.double().exp()) - 1).abs().max() < 5e-7


def test_queries_keys_and_values_may_be_parts_of_one_projection() -> None:
    stacked, heads, d = drawn(2, 70, 3 * 5 * 13), 5, 13
    rows = stacked.clone().requires_grad_()
    parts = rows.split(heads * d, -1)
    assert not any(one.is_contiguous() for one in parts)
    out = attention.by_loops(*parts, heads)
    out.square().sum().backward()
    assert rows.grad is not None
    wanted = stacked.double().requires_grad_()
    query, key, value = (part.unflatten(-1, (heads, d)).transpose(1, 2) for part in wanted.split(heads * d, -1))
    exact = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    exact.square().sum().backward()
    assert wanted.grad is not None
    assert error([out.detach(), rows.grad], [exact.detach(), wanted.grad]) < CLOSE


def test_what_comes_out_lies_as_the_next_projection_reads_it() -> None:
    given = [drawn(2, 20, 24, seed=seed).requires_grad_() for seed in range(3)]
    out = attention.by_loops(given[0], given[1], given[2], 3)
    assert out.is_contiguous()
    assert all(gradient.is_contiguous() for gradient in torch.autograd.grad(out.sum(), given))


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_scores_may_all_be_too_large_or_small_for_a_power(shift: float) -> None:
    """What is added to all scores of a place cancels out, though e to that power is infinite or zero in 32 bits."""
    query, key, value = inputs(1, 2, 150, 200, 16)
    query[..., 0], key[..., 0] = 4.0, shift  # √d = 4
    found, wanted = learned(by_loops, [query, key, value]), plain([query, key, value])
    for both in (found, wanted):
        both[1] = both[1][..., 1:]  # the first is a sum of 200 numbers around 300 that is zero
    assert error(found, wanted) < 1e-4  # scores of 300 are rounded to 2e-5


def test_a_place_that_sees_one_key_alone_is_as_exact_as_pytorchs() -> None:
    """Scores in the thousands: nearly all weights are 0 or 1."""
    query, key, value = inputs(1, 2, 150, 300, 40)
    given = [50 * query, 50 * key, value]
    found, wanted = learned(by_loops, given), plain(given)
    assert all(one.isfinite().all() for one in found)
    assert error(found, wanted) < 2 * error(learned(F.scaled_dot_product_attention, given), wanted) < 0.1


@pytest.mark.parametrize("broken", [0, 1, 2], ids=["query", "key", "value"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_is_not_swallowed(broken: int, number: float) -> None:
    given = inputs(1, 2, 150, 140, 8)
    given[broken][0, 1, 70, 3] = number
    found, wanted = learned(by_loops, given), learned(F.scaled_dot_product_attention, given)
    assert not found[0].isfinite().all()
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one[:, 0].isfinite(), other[:, 0].isfinite())  # the other head
        assert one[:, 1].isfinite().all() == other[:, 1].isfinite().all()
    assert torch.equal(found[0].isnan(), wanted[0].isnan())


def test_the_same_bits_on_any_number_of_threads(threads: list[int]) -> None:
    given = inputs(2, 3, 140, 90, 40)
    found: list[list[Tensor]] = []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        found.append(learned(by_loops, given))
    assert threads == [1, 1, 2, 2, 4, 4]
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


def test_little_work_is_not_shared(threads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_ALONE", 2 * 10 * 8 * 10)
    torch.set_num_threads(2)
    for places in (10, 11):
        by_loops(drawn(1, 2, places, 8), drawn(1, 2, 10, 8), drawn(1, 2, 10, 8))
    assert threads == [1, 2]


def asked(given: list[Tensor], bias: Tensor | None = None) -> str:
    """The operation that computes attention for inputs with the heads apart."""
    rows = [x.detach().transpose(1, 2).flatten(2).requires_grad_() for x in given]
    out: Any = attention.by_loops(*rows, given[0].shape[1], bias)
    found, waiting = set[str](), [out.grad_fn]
    while waiting:
        function = waiting.pop()
        found.add(type(function).__name__)
        waiting += [other for other, _ in function.next_functions if other is not None]
    return "loops" if "_LoopsBackward" in found else "PyTorch's"


@pytest.mark.parametrize(("d", "masked"), [(8, True), (161, False)])
def test_biases_and_wider_heads_are_pytorchs(d: int, masked: bool) -> None:
    query, key, value = given = inputs(2, 2, 9, 21, d)
    bias = -10000.0 * (torch.arange(21) > torch.tensor([[9], [20]])).float()[:, None, None] if masked else None
    exact = F.scaled_dot_product_attention(*(one.double() for one in given), None if bias is None else bias.double())
    assert error([by_loops(query, key, value, bias)], [exact]) < CLOSE
    assert asked(given, bias) == "PyTorch's"
    assert asked([one[..., :8] for one in given]) == "loops"


@pytest.mark.parametrize("other", [{"dtype": torch.float64}, {"dtype": torch.bfloat16}, {"device": "meta"}])
def test_other_types_and_devices_are_pytorchs(other: dict[str, Any]) -> None:
    assert asked([one.to(**other) for one in inputs(1, 2, 9, 21, 8)]) == "PyTorch's"


def test_a_gradient_of_a_gradient_is_refused() -> None:
    """Rather than to be wrong."""
    given = [one.requires_grad_() for one in inputs(1, 2, 9, 21, 8)]
    pull = drawn(1, 2, 9, 8).requires_grad_()
    (once,) = torch.autograd.grad(by_loops(*given), given[0], pull, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()
