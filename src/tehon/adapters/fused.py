"""LoRA and its frozen layer as one operation, for one layer or for several that read the same input.

PyTorch's own derivative of x Wᵀ + s (x Aᵀ) Bᵀ takes five products apart, keeps s B and adds three tensors of the
input's size. Here what is added is added in place by the products themselves, and the gradients of A and B are written
where `FlatParameters` keeps them (the idea: RunLoRA, arXiv 2312.03415). Layers with the same input, as query, key and
value, share the product with their stacked A, and one tensor takes up the gradients of their input.

>>> query, key, value = fused(x, [of_query, of_key, of_value])
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from tehon.adapters.adapter import Layer


class Branch:
    """A frozen layer and a low-rank change of it, as matrices: views that stay valid for as long as `holds`."""

    def __init__(self, layer: Layer, down: nn.Parameter, up: nn.Parameter) -> None:
        """`layer` is Linear or a 1x1 Conv2d, `down` A, (rank, in) or (rank, in, 1, 1), and `up` B."""
        self.layer, self.parameters = layer, (down, up)
        self.weight, self.bias = layer.weight.detach().flatten(1), layer.bias
        self.down, self.up = down.detach().flatten(1), up.detach().flatten(1)
        self.turned_down, self.turned_up = self.down.t(), self.up.t()
        self.down_gradient, self.up_gradient = _matrix(down.grad), _matrix(up.grad)
        self._places = self._where()

    @property
    def holds(self) -> bool:
        """Whether layer and parameters, with their gradients, lie where they lay."""
        return self._places == self._where()

    def _where(self) -> tuple[object, ...]:
        down, up = self.parameters
        return self.layer.weight.data_ptr(), down.data_ptr(), up.data_ptr(), _place(down.grad), _place(up.grad)


def fusible(layer: nn.Module) -> bool:
    """Whether a layer is a plain matrix on channels, which lies in memory as it computes."""
    if hasattr(layer, "unpack"):
        return False
    if isinstance(layer, nn.Conv2d):
        plain = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
        return plain == ((1, 1), (1, 1), (0, 0), 1)
    return isinstance(layer, nn.Linear)


def fused(x: Tensor, branches: Sequence[Branch], scales: Sequence[float]) -> tuple[Tensor, ...]:
    """What each branch makes of x, with its change times a factor: (..., in) to (..., out) for Linear, (n, in, h, w)
    to (n, out, h, w) for Conv2d."""
    downs, ups = zip(*(branch.parameters for branch in branches), strict=True)
    if isinstance(branches[0].layer, nn.Linear):
        return _Fused.apply(x, branches, scales, *downs, *ups)  # pyright: ignore[reportReturnType]
    outs: Any = _Fused.apply(x.permute(0, 2, 3, 1), branches, scales, *downs, *ups)
    return tuple(out.permute(0, 3, 1, 2) for out in outs)


class _Fused(torch.autograd.Function):
    """From x (..., in) to (..., out) of each branch. The parameters are there so that autograd asks for their
    gradients; they must not change between forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branches: Sequence[Branch], scales: Sequence[float], *parameters: nn.Parameter
    ) -> tuple[Tensor, ...]:
        rows = x.reshape(-1, x.shape[-1])
        narrow = rows.mm(_stacked(branches, x.dtype))
        ctx.branches, ctx.scales, ctx.shape = branches, scales, x.shape
        learning = any(ctx.needs_input_grad[3 : 3 + len(branches)])  # a frozen A, as LoRA-FA's, needs no input kept
        ctx.save_for_backward(rows if learning else None, narrow)
        outs: list[Tensor] = []
        for branch, scale, h in zip(branches, scales, _apart(narrow, branches), strict=True):
            out = linear(rows, branch.weight, branch.bias)
            out.addmm_(h, _as(branch.turned_up, x.dtype), alpha=scale)
            outs.append(out.view(*x.shape[:-1], out.shape[1]))
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """With g the gradient of a branch's output, h = x Aᵀ and dh = s g B: dB = s gᵀ h, dA = dhᵀ x, and
        dx = Σ g W + dh A."""
        branches: Sequence[Branch] = ctx.branches
        scales: Sequence[float] = ctx.scales
        rows, narrow = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        down_wanted, up_wanted = wanted[: len(branches)], wanted[len(branches) :]
        outs = [gradient.reshape(-1, gradient.shape[-1]) for gradient in grad_outputs]
        by_narrow = [out.mm(_as(branch.up, out.dtype)) for branch, out in zip(branches, outs, strict=True)]
        given_down: list[Tensor | None] = []
        given_up: list[Tensor | None] = []
        for i, (branch, scale, h) in enumerate(zip(branches, scales, _apart(narrow, branches), strict=True)):
            down, up = branch.parameters
            give_up, give_down = up_wanted[i], down_wanted[i]
            given_up.append(_give(up, branch.up_gradient, outs[i].t(), h, scale) if give_up else None)
            given_down.append(_give(down, branch.down_gradient, by_narrow[i].t(), rows, scale) if give_down else None)
        by_input = None
        if ctx.needs_input_grad[0]:
            by_input = outs[0].mm(branches[0].weight)
            for branch, out in zip(branches[1:], outs[1:], strict=True):
                by_input.addmm_(out, branch.weight)
            for branch, scale, dh in zip(branches, scales, by_narrow, strict=True):
                by_input.addmm_(dh, _as(branch.down, dh.dtype), alpha=scale)
            by_input = by_input.view(ctx.shape)
        return by_input, None, None, *given_down, *given_up


def _matrix(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.view(len(tensor), -1)


def _place(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`to` costs as much as a small product even where it does nothing."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _stacked(branches: Sequence[Branch], dtype: torch.dtype) -> Tensor:
    """All Aᵀ beside each other: (in, sum of ranks)."""
    if len(branches) == 1:
        return _as(branches[0].turned_down, dtype)
    return _as(torch.cat([branch.down for branch in branches]).t(), dtype)


def _apart(narrow: Tensor, branches: Sequence[Branch]) -> Sequence[Tensor]:
    """The columns of each branch."""
    if len(branches) == 1:
        return (narrow,)
    return narrow.split([len(branch.down) for branch in branches], 1)


def _give(parameter: nn.Parameter, place: Tensor | None, left: Tensor, right: Tensor, scale: float) -> Tensor | None:
    """Adds `scale` times a product to a parameter's gradient where there is one already, else hands it to autograd."""
    if place is None:
        return (left @ right).mul_(scale).view(parameter.shape).to(parameter.dtype)
    if place.dtype == left.dtype:
        place.addmm_(left, right, alpha=scale)
    else:
        place.add_(left @ right, alpha=scale)
    return None
