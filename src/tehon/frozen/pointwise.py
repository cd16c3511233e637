"""What stands between the matrix products of a frozen U-Net: gates and group norms that keep nothing but their input.

On a graphics card they are Triton's kernels (`kernels.py`) where Triton is installed, on a CPU in float32 loops
(`by_loops.py`), else PyTorch's operations, which compute again in the backward.

>>> h = norm_silu(block.norm1, x)
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tehon.again import made_again, pays


def gate(projected: Tensor) -> Tensor:
    """h gelu(g) of (..., 2 n), which holds h and g (GEGLU, arXiv 2002.05202): (..., n). It is made again where that
    pays."""
    out: Any = _Gate.apply(projected)
    return made_again(out, _gated, (projected,)) if pays(out.device) else out


def norm_silu(norm: nn.GroupNorm, x: Tensor, shift: Tensor | None = None, *, silu: bool = True) -> Tensor:
    """silu(norm(x + shift)), or without SiLU: x (n, c, h, w), shift (n, c). The norm is frozen, and gradients go to x
    alone."""
    assert shift is None or not shift.requires_grad, "the gradient of what is added would be lost"
    return _NormSilu.apply(x, shift, norm, silu)  # pyright: ignore[reportReturnType]


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """A frozen LayerNorm, whose output is made again where that pays."""
    return normed_beside(norm, x)[0]


def normed_beside(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and x for what goes around it, whose gradients meet in one pass where the output is made again."""
    if not pays(x.device):
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps), x

    def make(x: Tensor) -> Tensor:
        return _layer_norm(norm, x)[0]

    found: Any = _LayerNorm.apply(x, norm)
    out, same = found
    return made_again(out, make, (x,)), same


def sum_with_bias(one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
    """one + other + bias, of (n, c, h, w) twice and (c,)."""
    return one + other if bias is None else _Sum.apply(one, other, bias)  # pyright: ignore[reportReturnType]


def _kernels(x: Tensor) -> Any:
    """Who computes it in one pass, if anybody does: a module."""
    if x.device.type == "cpu":
        return _loops() if x.dtype == torch.float32 else None
    return _triton(x.device.type)


@cache
def _loops() -> Any:
    """Compiled when first asked for, so that only who needs them waits."""
    return import_module("tehon.frozen.by_loops")


@cache
def _triton(device: str) -> Any:
    return import_module("tehon.frozen.kernels") if device == "cuda" and find_spec("triton") is not None else None


def _gated(projected: Tensor) -> Tensor:
    kernels = _kernels(projected)
    if kernels is None:
        h, g = projected.chunk(2, -1)
        return h * F.gelu(g)
    rows = projected.reshape(-1, projected.shape[-1])
    return kernels.gated(rows).view(*projected.shape[:-1], -1)


def _layer_norm(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and mean and 1/deviation of each row."""
    kernels = _triton(x.device.type)
    if kernels is None:
        return torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    out, mean, over = kernels.layer_norm(_rows(x), norm.weight, norm.bias, norm.eps)
    return out.view(x.shape), mean.view(*x.shape[:-1], 1), over.view(*x.shape[:-1], 1)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        out, mean, over = _layer_norm(norm, x)
        ctx.norm = norm
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mean, over)
        return out, x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, None]:
        gradient, around = grad_outputs
        x, mean, over = ctx.saved_tensors
        if gradient is None:
            return around, None
        kernels = _triton(x.device.type)
        if kernels is None:
            own, shape = (ctx.norm.weight, ctx.norm.bias), ctx.norm.normalized_shape
            back = torch.ops.aten.native_layer_norm_backward
            found = back(gradient, x, shape, mean, over, *own, [True, False, False])[0]
            return found if around is None else found + around, None
        given = [None if one is None else _rows(one) for one in (gradient, around, x)]
        return kernels.layer_norm_back(*given, ctx.norm.weight, mean, over).view(x.shape), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor, bias: Tensor) -> Tensor:
        kernels = _triton(one.device.type)
        if kernels is None:
            return one + (other + bias[:, None, None])
        return _picture(kernels.sum_with_bias(_pixels(one), _pixels(other), bias), one)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad_outputs[0], grad_outputs[0], None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor) -> Tensor:
        ctx.save_for_backward(projected)
        return _gated(projected)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (projected,) = ctx.saved_tensors
        kernels = _kernels(projected)
        if kernels is None:
            return _derived(_gated, projected, grad_outputs[0])
        rows, gradient = projected.reshape(-1, projected.shape[-1]), grad_outputs[0].contiguous()
        return kernels.gated_back(rows, gradient.view(len(rows), -1)).view(projected.shape)


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor | None, norm: nn.GroupNorm, silu: bool) -> Tensor:
        ctx.norm, ctx.silu = norm, silu
        kernels = _kernels(x)
        if kernels is None:
            ctx.save_for_backward(x, shift, None)
            return _plainly(norm, silu, x, shift)
        rows = _pixels(x)
        options = (norm.weight, norm.bias, norm.num_groups, norm.eps, silu)
        out, found = kernels.group_norm(rows, None if shift is None else shift.contiguous(), *options)
        ctx.save_for_backward(x, shift, found)
        return _picture(out, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        norm, silu = ctx.norm, ctx.silu
        x, shift, found = ctx.saved_tensors
        kernels = _kernels(x)
        if kernels is None:
            return _derived(lambda x: _plainly(norm, silu, x, shift), x, grad_outputs[0]), None, None, None
        given = _strided(grad_outputs[0]), _pixels(x), None if shift is None else shift.contiguous()
        return _picture(kernels.group_norm_back(*given, found, norm.weight, norm.bias, silu), x), None, None, None


def _plainly(norm: nn.GroupNorm, silu: bool, x: Tensor, shift: Tensor | None) -> Tensor:
    shifted = x if shift is None else x + shift[:, :, None, None]
    out = F.group_norm(shifted, norm.num_groups, norm.weight, norm.bias, norm.eps)
    return F.silu(out) if silu else out


def _rows(x: Tensor) -> Tensor:
    """(..., c) to (m, c), a view where one row lies behind the other."""
    return x.contiguous().view(-1, x.shape[-1])


def _pixels(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h w, c), a view where channels come last."""
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def _strided(x: Tensor) -> Tensor:
    """The same without a copy where the channels of a pixel lie beside each other."""
    rows = x.permute(0, 2, 3, 1)
    return (rows if rows.stride(3) == 1 else rows.contiguous()).flatten(1, 2)


def _picture(rows: Tensor, like: Tensor) -> Tensor:
    return rows.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def _derived(function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> Tensor:
    with torch.enable_grad():
        own = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(function(own), own, gradient)
    return found
