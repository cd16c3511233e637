"""Group norms as loops, against exact values in 64 bits."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tehon.frozen import by_loops
from tehon.frozen.pointwise import norm_silu
from tehon.loops import norms

SHAPES = {  # (n, channels, groups, height, width)
    "one place": (1, 64, 32, 1, 1),
    "uneven parts": (2, 21, 7, 5, 3),
    "many places": (1, 64, 32, 40, 33),
    "few places": (2, 1280, 32, 4, 4),
    "one group": (1, 48, 1, 9, 9),
}


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms as small as those here run on as many threads as large ones."""
    monkeypatch.setattr(by_loops, "_ALONE", 0)


def drawn(count: int, channels: int, groups: int, height: int, width: int) -> tuple[nn.GroupNorm, list[Tensor]]:
    """A norm, and its input, what is added to that, and the gradient of its output."""
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels).requires_grad_(False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (3 * torch.randn(count, channels, height, width) + 20).to(memory_format=torch.channels_last)
    return norm, [x, 2 * torch.randn(count, channels), torch.randn_like(x)]


def exactly(norm: nn.GroupNorm, given: list[Tensor], silu: bool) -> list[Tensor]:
    x, shift, pull = (one.double() for one in given)
    x.requires_grad_()
    options = norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps
    out = F.group_norm(x + shift[:, :, None, None], *options)
    out = F.silu(out) if silu else out
    return [out.detach(), *torch.autograd.grad(out, x, pull)]


def found(norm: nn.GroupNorm, given: list[Tensor], silu: bool = True) -> list[Tensor]:
    x, shift, pull = given
    x = x.detach().requires_grad_()
    out = norm_silu(norm, x, shift, silu=silu)
    return [out.detach(), *torch.autograd.grad(out, x, pull)]


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_outputs_and_gradients_are_exact(name: str, silu: bool) -> None:
    norm, given = drawn(*SHAPES[name])
    for ours, exact in zip(found(norm, given, silu), exactly(norm, given, silu), strict=True):
        assert ours.shape == exact.shape
        # inputs around 20 are rounded, which weighs as much more as their deviation is less
        assert (ours - exact).abs().max() < (2e-3 if given[0][0, 0].numel() == 1 else 2e-5) * max(
            1.0, exact.abs().max()
        )


def test_a_mean_far_from_zero_is_taken_away_before_squares_are_summed_up() -> None:
    norm, given = drawn(1, 64, 32, 16, 16)
    given[0] = 1000 + torch.randn(1, 64, 16, 16).round(decimals=2)
    given[1].zero_()
    (ours, _), (exact, _) = found(norm, given), exactly(norm, given, True)
    assert (ours - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize(("groups", "width"), [(32, 260), (3, 2100), (3, norms.WIDEST)])
def test_channels_may_be_more_than_a_line_holds(groups: int, width: int, shared: None) -> None:
    torch.set_num_threads(1)
    norm, given = drawn(1, groups * width, groups, 2, 2)
    for ours, exact in zip(found(norm, given), exactly(norm, given, True), strict=True):
        assert (ours - exact).norm() < 1e-5 * exact.norm()


def test_a_group_that_is_wider_than_a_line_is_refused() -> None:
    norm, given = drawn(1, norms.WIDEST + 1, 1, 1, 1)
    with pytest.raises(AssertionError, match="more channels than a line"):
        found(norm, given)


@pytest.mark.parametrize("shape", [(0, 64, 4, 4), (2, 64, 0, 4)])
def test_there_may_be_nothing_to_norm(shape: tuple[int, ...]) -> None:
    norm = nn.GroupNorm(32, 64).requires_grad_(False)
    assert norm_silu(norm, torch.empty(shape)).shape == shape


@pytest.mark.parametrize("epsilon", [0, 1e-5])
def test_numbers_that_are_all_nearly_the_same_have_a_small_deviation(epsilon: float) -> None:
    """Of the squares' mean and the mean's square, either may be the larger by rounding."""
    norm, given = drawn(1, 64, 32, 16, 16)
    norm.eps = epsilon
    given[1].zero_()
    for level in (1e3 / 3, 1e7 / 3):
        given[0].fill_(level)[..., 0] = level * (1 + 2e-7)
        out, gradient = found(norm, given)
        assert out.isfinite().all()
        assert gradient.isfinite().all()


def test_what_is_added_to_the_variance_may_be_a_whole_number() -> None:
    norm, given = drawn(1, 64, 32, 8, 8)
    norm.eps = 1
    assert (found(norm, given)[0] - exactly(norm, given, True)[0]).abs().max() < 2e-5


def test_the_gradient_of_what_is_added_is_not_lost() -> None:
    norm, (x, shift, _) = drawn(1, 64, 32, 4, 4)
    with pytest.raises(AssertionError, match="would be lost"):
        norm_silu(norm, x, shift.requires_grad_())


def test_a_gradient_of_a_gradient_is_refused() -> None:
    norm, (x, shift, pull) = drawn(1, 64, 32, 4, 4)
    x.requires_grad_()
    (once,) = torch.autograd.grad(norm_silu(norm, x, shift), x, pull.requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_bits_on_any_number_of_threads(name: str, shared: None) -> None:
    norm, given = drawn(*SHAPES[name])
    results: list[list[Tensor]] = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(found(norm, given))
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


def test_what_comes_in_may_have_its_channels_first() -> None:
    norm, given = drawn(2, 64, 32, 5, 7)
    others = [one.contiguous() for one in given]
    assert others[0].stride() != given[0].stride()
    assert all(torch.equal(*pair) for pair in zip(found(norm, given), found(norm, others), strict=True))


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_is_not_swallowed(number: float) -> None:
    norm, given = drawn(2, 64, 32, 5, 7)
    given[0][1, 9, 2, 2] = number  # of the second picture's fifth group
    for one in found(norm, given):
        assert one[1, 8:10].isnan().all()
        assert one[0].isfinite().all()
        assert one[1, 10:].isfinite().all()


def test_far_out_silu_is_open_or_shut() -> None:
    norm = nn.GroupNorm(1, 2).requires_grad_(False)
    norm.weight.copy_(torch.tensor([1e4, 1e4]))
    x = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    out, _ = found(norm, [x, torch.zeros(1, 2), torch.ones(1, 2, 1, 1)])
    assert out[0, 0] == pytest.approx(0.0, abs=1e-25)
    assert out[0, 1] == pytest.approx(1e4, rel=1e-4)


def test_it_keeps_its_input_alone() -> None:
    norm, (x, shift, _) = drawn(1, 64, 32, 16, 16)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        norm_silu(norm, x.requires_grad_(), shift)
    assert [one.data_ptr() for one in kept if one.numel() >= x.numel()] == [x.data_ptr()]
