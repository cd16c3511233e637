"""Triton kernels for LoRA on bordered weights (`bordered.py`)."""

# Triton is there where PyTorch computes on graphics cards, and its functions are compiled, not called.
# pyright: reportMissingImports=false, reportMissingParameterType=false, reportIndexIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 1024


def updated(
    wide: Tensor, count: int, factor: Tensor, scale: float, previous: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """From rows (m, count + rank) that hold y and h: y + scale h factorᵀ (+ previous), (m, count), and h in a tensor of
    its own. `factor` is (count, rank), with any strides; the rank a multiple of 8."""
    rows, rank = len(wide), factor.shape[1]
    out, narrow = wide.new_empty(rows, count), wide.new_empty(rows, rank)
    grid = (triton.cdiv(rows, 64), triton.cdiv(count, 128))
    sizes: tuple[Any, ...] = (rows, count, rank, wide.stride(0), *factor.stride(), scale)
    options: dict[str, Any] = {"PREVIOUS": previous is not None, "RANK": max(16, 1 << (rank - 1).bit_length())}
    _updated[grid](wide, factor, out if previous is None else previous, out, narrow, *sizes, **options)
    return out, narrow


def spread_table(places: list[tuple[int, Tensor]], device: torch.device) -> Tensor:
    """What `spread` needs to know: of each piece of up to 1024 numbers its first in the vector, where the matrix lies
    that it belongs to, the first of that, its end, its width and its stride. `places` are (first, matrix)."""
    rows: list[tuple[int, ...]] = []
    for first, matrix in places:
        size = matrix.numel()
        for start in range(0, size, _TILE):
            rows.append((first, matrix.data_ptr(), start, min(size, start + _TILE), matrix.shape[1], matrix.stride(0)))
    return torch.tensor(rows, dtype=torch.int64).to(device)


def spread(vector: Tensor, table: Tensor) -> None:
    """Copies a vector's stretches into matrices of its type."""
    _spread[(len(table),)](vector, table, TILE=_TILE)


@triton.jit(do_not_specialize=["rows"])
def _updated(
    wide, factor, previous, out, narrow, rows, count, rank, stride, along, across, scale,
    PREVIOUS: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr = 64, COLUMNS: tl.constexpr = 128,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    r = tl.arange(0, RANK)
    start = wide + row[:, None].to(tl.int64) * stride
    inside = (row < rows)[:, None] & (column < count)[None, :]
    within = (row < rows)[:, None] & (r < rank)[None, :]
    h = tl.load(start + count + r[None, :], mask=within, other=0.0)
    turned = (r < rank)[:, None] & (column < count)[None, :]
    right = tl.load(factor + column[None, :] * along + r[:, None] * across, mask=turned, other=0.0)
    value = tl.dot(h, right) * scale + tl.load(start + column[None, :], mask=inside, other=0.0).to(tl.float32)
    place = row[:, None].to(tl.int64) * count + column[None, :]
    if PREVIOUS:
        value += tl.load(previous + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)
    if tl.program_id(1) == 0:
        tl.store(narrow + row[:, None].to(tl.int64) * rank + r[None, :], h, mask=within)


@triton.jit
def _spread(vector, table, TILE: tl.constexpr):
    entry = table + tl.program_id(0) * 6
    first, address, start = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    end, width, stride = tl.load(entry + 3), tl.load(entry + 4), tl.load(entry + 5)
    number = start + tl.arange(0, TILE)
    values = tl.load(vector + first + number, mask=number < end)
    matrix = address.to(tl.pointer_type(vector.dtype.element_ty))
    tl.store(matrix + number // width * stride + number % width, values, mask=number < end)
