"""Some of `kernels.py` on a CPU in float32: the same functions, by the loops of `tehon.loops`.

Where there is work for more than one thread, they run on as many as PyTorch uses.
"""

from typing import Any

import torch
from torch import Tensor

from tehon.loops import gates, norms
from tehon.loops.threads import share

_ALONE = 2**14  # numbers that one thread is through with sooner than it has called a second


def gated(projected: Tensor) -> Tensor:
    """h gelu(g) of rows (m, 2 n) that hold h and g: (m, n)."""
    pairs = projected.contiguous().view(len(projected), 2, projected.shape[1] // 2)
    out = projected.new_empty(len(pairs), pairs.shape[2])
    _share_rows(gates.gate, pairs, out)
    return out


def gated_back(projected: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of `projected` from that of `gated`."""
    pairs = projected.contiguous().view(len(projected), 2, projected.shape[1] // 2)
    out = torch.empty_like(pairs)
    _share_rows(gates.gate_backward, pairs, gradient.contiguous(), out)
    return out.view(projected.shape)


def group_norm(
    x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor, groups: int, epsilon: float, silu: bool
) -> tuple[Tensor, Tensor]:
    """The group norm of x + shift, (n, pixels, c) and (n, c), with SiLU behind it where asked; and mean and 1/deviation
    of each group (n, groups, 2)."""
    out, found = torch.empty_like(x), x.new_empty(len(x), groups, 2)
    _share_groups(norms.norm, x, _shift(shift, x), weight, bias, found, out, silu, float(epsilon))
    return out, found


def group_norm_back(
    gradient: Tensor, x: Tensor, shift: Tensor | None, found: Tensor, weight: Tensor, bias: Tensor, silu: bool
) -> Tensor:
    """The gradient of x from that of `group_norm`, whose second output is `found`."""
    out = torch.empty_like(x)
    _share_groups(norms.norm_backward, x, _shift(shift, x), weight, bias, found, out, silu, gradient.contiguous())
    return out


def _shift(shift: Tensor | None, x: Tensor) -> Tensor:
    return x.new_zeros(len(x), x.shape[2]) if shift is None else shift


def _share_rows(loop: Any, rows: Tensor, *others: Tensor) -> None:
    threads = _threads(rows)
    share(loop, threads, threads, rows, *others)


def _share_groups(loop: Any, x: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, found: Tensor, *more: Any) -> None:
    """A task is a part of a picture's groups, at most so many that their channels have room in the loop's lines."""
    threads, groups = _threads(x), found.shape[1]
    most = norms.WIDEST * groups // x.shape[2]
    assert most > 0, "a group has more channels than a line has room for"
    parts = max(threads, -(-groups // most))
    if x.numel():
        share(loop, len(x) * parts, threads, x, shift, weight, bias, found, *more, parts)


def _threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() > _ALONE else 1
