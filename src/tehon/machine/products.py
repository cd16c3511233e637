"""Products of matrices, on a CPU in float32 by whichever of PyTorch's two libraries is the faster there.

PyTorch multiplies matrices with MKL, which on processors of other makers than its own leaves half of each vector
unused. oneDNN, which PyTorch has for convolutions, uses all of it: on one of AMD's with AVX-512 it is 2.3 times as
fast. Autograd doesn't know it, so it is used where nothing is differentiated, as inside an operation of our own.

>>> out = linear(rows, weight, bias)
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tehon.machine.processor import amd_with_avx512

FEWEST = 2**21  # multiplications; with fewer, calling oneDNN takes longer than it saves
_FEWEST_ADDED = 2**23  # where the sum is a pass of its own
_FEWEST_TURNED = 2**18  # where many sums for few columns are computed as few rows, and added in a pass of their own


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., k) times the transpose of weight (m, k), + bias (m)."""
    if _suits_onednn(x, weight, weight.shape[0]):
        return by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


def times(left: Tensor, right: Tensor) -> Tensor:
    """left (..., k) @ right (k, m)."""
    if _suits_onednn(left, right, right.shape[1]):
        return by_onednn(left, right.t())
    return left @ right


def each_times(left: Tensor, right: Tensor) -> Tensor:
    """left (b, n, k) @ right (b, k, m), pair by pair."""
    if _suits_onednn(left[0], right[0], right.shape[2]):
        out = left.new_empty(*left.shape[:2], right.shape[2])
        for place, one, other in zip(out.unbind(), left.unbind(), right.unbind(), strict=True):
            place.copy_(by_onednn(one, other.t()))
        return out
    return torch.bmm(left, right)


def add_product(place: Tensor, left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Adds scale · left (n, k) @ right (k, m) to place (n, m)."""
    columns = right.shape[1]
    size = left.numel() * columns
    if size < _FEWEST_TURNED:
        return place.addmm_(left, right, alpha=scale)
    if left.stride(1) != 1 and left.shape[0] > columns:  # turned around: the library takes the second for a weight
        if _suits_onednn(left, right, columns):
            place.t().add_(by_onednn(right.t(), left), alpha=scale)
            return place
        if left.device.type == "cpu":
            place.t().add_(right.t() @ left.t(), alpha=scale)
            return place
    elif size >= _FEWEST_ADDED and _suits_onednn(left, right, columns):
        return place.add_(by_onednn(left, right.t()), alpha=scale)
    return place.addmm_(left, right, alpha=scale)


@cache
def onednn_is_faster() -> bool:
    """Whether oneDNN's products are the faster ones: with AVX-512 of AMD's. This is not measured, so that a run that is
    repeated or resumed on a machine computes with the same library, to the last bit."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and amd_with_avx512()


def _suits_onednn(left: Tensor, right: Tensor, columns: int) -> bool:
    if left.numel() * columns < FEWEST or left.device.type != "cpu" or torch.is_grad_enabled():
        return False
    return left.dtype == right.dtype == torch.float32 and onednn_is_faster()


def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The library's linear layer, which PyTorch has for its compiler. A weight with gaps between its rows, cut out of a
    wider one, would take it a hundred times as long."""
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
