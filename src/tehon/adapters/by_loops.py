"""A LoRA's products on a CPU in float32, by the loops of `tehon.loops.low_rank`: one for what it adds to its layer's
output, one for all of its gradients, where PyTorch has a product each.
"""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from tehon.loops.threads import share

_ALONE = 2**16  # multiplications of a product, with fewer of which one thread is done before it has called a second
_FASTER = 16  # ranks
_PART, _MOST = 32, 8  # rows of a part, and parts; not of how many threads there are, so that any number gives the same


def suits(down: Tensor, up: Tensor) -> bool:
    """Whether loops have room for A (rank, in) and B (out, rank), and are faster, which they aren't for high ranks."""
    rank, widest = len(down), max(down.shape[1], len(up))
    if not (readable(down) and readable(up)) or rank % 4 or rank > _FASTER:
        return False
    return rank <= _loops().HIGHEST and widest <= _loops().WIDEST


def readable(rows: Tensor) -> bool:
    """Whether loops can read a tensor as it lies."""
    return rows.is_cpu and rows.dtype == torch.float32 and rows.is_contiguous()


def add_change(x: Tensor, down: Tensor, up: Tensor, scale: float, out: Tensor) -> Tensor:
    """Adds s h Bᵀ to `out` (rows, out) for x (rows, in), and returns h = x Aᵀ (rows, rank)."""
    h = x.new_empty(len(x), len(down))
    _share(_loops().change, x, down, up, float(scale), h, out)
    return h


def add_gradients(
    x: Tensor, down: Tensor, up: Tensor, scale: float, h: Tensor, by_out: Tensor, to: tuple[Tensor, Tensor, Tensor]
) -> None:
    """From `by_out`, the gradient g of the output, with dh = g B: adds s dh A, s dhᵀ x and s gᵀ h to the gradients of
    x, A and B."""
    room = x.new_empty(_parts(x) * len(down), x.shape[1] + len(up))
    _share(_loops().change_backward, x, down, up, float(scale), h, by_out.contiguous(), *to, room, 0)


def _share(loop: Any, x: Tensor, down: Tensor, up: Tensor, *given: Tensor | float) -> None:
    threads = torch.get_num_threads() if len(x) * up.numel() > _ALONE else 1
    share(loop, _parts(x), threads, x, down, up, *given)


def _parts(x: Tensor) -> int:
    return max(1, min(_MOST, len(x) // _PART))


@cache
def _loops() -> Any:
    """Compiled when first asked for, so that only who needs them waits."""
    return import_module("tehon.loops.low_rank")
