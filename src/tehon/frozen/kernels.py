"""Triton kernels for what stands between the matrix products of a frozen U-Net, each in one pass over its numbers where
PyTorch takes several. All sums are made in float32.

Pictures are (n, pixels, channels), with the channels of a pixel beside each other.
"""

# Triton is there where PyTorch computes on graphics cards, and its functions are compiled, not called.
# pyright: reportMissingImports=false, reportMissingParameterType=false, reportIndexIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS = 64, 64  # pixels and channels of a tile
_WIDE = 1024
_TILES = 32  # tiles whose sums are read at once


def gated(projected: Tensor) -> Tensor:
    """h gelu(g) of rows (m, 2 n) that hold h and g: (m, n)."""
    rows, wide = projected.shape[0], projected.shape[1] // 2
    out = projected.new_empty(rows, wide)
    _gated[(rows, triton.cdiv(wide, _WIDE))](projected, out, wide, WIDE=_WIDE)
    return out


def gated_back(projected: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of `projected` from that of `gated`."""
    rows, wide = gradient.shape
    out = torch.empty_like(projected)
    _gated_back[(rows, triton.cdiv(wide, _WIDE))](projected, gradient, out, wide, WIDE=_WIDE)
    return out


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """The layer norm of rows (m, c), and mean and 1/deviation of each, float32 (m, 1)."""
    out = torch.empty_like(x)
    mean, over = (torch.empty(len(x), 1, dtype=torch.float32, device=x.device) for _ in range(2))
    wide = x.shape[1]
    _layer_norm[(len(x),)](x, weight, bias, out, mean, over, wide, epsilon, WIDE=_power(wide))
    return out, mean, over


def layer_norm_back(
    gradient: Tensor, around: Tensor | None, x: Tensor, weight: Tensor, mean: Tensor, over: Tensor
) -> Tensor:
    """The gradient of x (m, c) from that of `layer_norm`'s output, plus what comes `around` the norm."""
    out = torch.empty_like(gradient)
    wide = gradient.shape[1]
    others = gradient if around is None else around
    options: dict[str, Any] = {"AROUND": around is not None, "WIDE": _power(wide)}
    _layer_norm_back[(len(gradient),)](gradient, others, x, weight, mean, over, out, wide, **options)
    return out


def sum_with_bias(one: Tensor, other: Tensor, bias: Tensor) -> Tensor:
    """one + other + bias, of (n, pixels, c) twice and (c,)."""
    out = torch.empty_like(one)
    count, channels = one.numel(), one.shape[2]
    _sum_with_bias[(triton.cdiv(count, _WIDE),)](one, other, bias, out, count, channels, WIDE=_WIDE)
    return out


def group_norm(
    x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor, groups: int, epsilon: float, silu: bool
) -> tuple[Tensor, Tensor]:
    """The group norm of x + shift, (n, pixels, c) and (n, c), with SiLU behind it where asked; and mean and 1/deviation
    of each group, float32 (n, groups, 2)."""
    n, pixels, channels = x.shape
    tiles, grid = _grid(x)
    partial = torch.empty(n, tiles, channels, 2, dtype=torch.float32, device=x.device)
    found = torch.empty(n, groups, 2, dtype=torch.float32, device=x.device)
    out = torch.empty_like(x)
    shifts = x if shift is None else shift
    each = channels // groups
    options: dict[str, Any] = {"SHIFTED": shift is not None, "ROWS": _ROWS, "COLUMNS": _COLUMNS}
    _moments[grid](x, shifts, partial, pixels, channels, tiles, **options)
    sizes: dict[str, Any] = {"EACH": _power(each), "TILES": _TILES}
    _gathered[(n, groups)](partial, found, pixels, channels, tiles, groups, each, epsilon, ROWS=_ROWS, **sizes)
    _normed[grid](x, shifts, found, weight, bias, out, pixels, channels, groups, each, SILU=silu, **options)
    return out, found


def group_norm_back(
    gradient: Tensor, x: Tensor, shift: Tensor | None, found: Tensor, weight: Tensor, bias: Tensor, silu: bool
) -> Tensor:
    """The gradient of x from that of `group_norm`, whose second output is `found`. Of `gradient` the channels alone
    have to lie beside each other."""
    n, pixels, channels = x.shape
    groups = found.shape[1]
    tiles, grid = _grid(x)
    partial = torch.empty(n, tiles, channels, 2, dtype=torch.float32, device=x.device)
    sums = torch.empty(n, groups, 2, dtype=torch.float32, device=x.device)
    out = torch.empty_like(x)
    shifts = x if shift is None else shift
    each = channels // groups
    options: dict[str, Any] = {"SILU": silu, "SHIFTED": shift is not None, "ROWS": _ROWS, "COLUMNS": _COLUMNS}
    given = (gradient, gradient.stride(0), gradient.stride(1), x, shifts, found, weight, bias)
    _slopes[grid](*given, partial, pixels, channels, groups, each, tiles, **options)
    _summed[(n, groups)](partial, sums, pixels, channels, tiles, groups, each, EACH=_power(each), TILES=_TILES)
    _turned_back[grid](*given, sums, out, pixels, channels, groups, each, **options)
    return out


def _grid(x: Tensor) -> tuple[int, tuple[int, int, int]]:
    n, pixels, channels = x.shape
    tiles = triton.cdiv(pixels, _ROWS)
    return tiles, (n, tiles, triton.cdiv(channels, _COLUMNS))


def _power(number: int) -> int:
    """The power of two that is not below a number."""
    return 1 << (number - 1).bit_length()


@triton.jit
def _gated(projected, out, wide, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    inside = columns < wide
    start = projected + row * 2 * wide + columns
    h = tl.load(start, mask=inside).to(tl.float32)
    g = tl.load(start + wide, mask=inside).to(tl.float32)
    value = h * g * 0.5 * (1.0 + tl.erf(g * 0.7071067811865476))
    tl.store(out + row * wide + columns, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gated_back(projected, gradient, out, wide, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    inside = columns < wide
    start = projected + row * 2 * wide + columns
    h = tl.load(start, mask=inside).to(tl.float32)
    g = tl.load(start + wide, mask=inside).to(tl.float32)
    slope = tl.load(gradient + row * wide + columns, mask=inside).to(tl.float32)
    below = 0.5 * (1.0 + tl.erf(g * 0.7071067811865476))
    density = 0.3989422804014327 * tl.exp(-0.5 * g * g)
    place = out + row * 2 * wide + columns
    tl.store(place, (slope * g * below).to(out.dtype.element_ty), mask=inside)
    tl.store(place + wide, (slope * h * (below + g * density)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _layer_norm(x, weight, bias, out, mean, over, wide, epsilon, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDE)
    inside = columns < wide
    values = tl.load(x + row * wide + columns, mask=inside, other=0.0).to(tl.float32)
    middle = tl.sum(values, 0) / wide
    away = tl.where(inside, values - middle, 0.0)
    factor = 1.0 / tl.sqrt(tl.sum(away * away, 0) / wide + epsilon)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * wide + columns, (away * factor * w + b).to(out.dtype.element_ty), mask=inside)
    tl.store(mean + row, middle)
    tl.store(over + row, factor)


@triton.jit
def _layer_norm_back(gradient, around, x, weight, mean, over, out, wide, AROUND: tl.constexpr, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDE)
    inside, place = columns < wide, row * wide + columns
    factor = tl.load(over + row)
    normed = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - tl.load(mean + row)) * factor
    normed = tl.where(inside, normed, 0.0)
    slope = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
    slope *= tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    back = (slope - tl.sum(slope, 0) / wide - normed * (tl.sum(slope * normed, 0) / wide)) * factor
    if AROUND:
        back += tl.load(around + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, back.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sum_with_bias(one, other, bias, out, count, channels, WIDE: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * WIDE + tl.arange(0, WIDE)
    inside = place < count
    total = tl.load(one + place, mask=inside).to(tl.float32) + tl.load(other + place, mask=inside).to(tl.float32)
    total += tl.load(bias + place % channels, mask=inside).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _tile(x, shifts, pixels, channels, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A tile of x + shift, where it lies, which of it is inside, and its columns."""
    n = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (rows < pixels)[:, None] & (columns < channels)[None, :]
    places = n * pixels * channels + rows[:, None].to(tl.int64) * channels + columns[None, :]
    values = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
    if SHIFTED:
        shift = tl.load(shifts + n * channels + columns, mask=columns < channels, other=0.0).to(tl.float32)
        values = values + shift[None, :]
    return values, places, inside, columns


@triton.jit(do_not_specialize=["pixels", "tiles"])
def _moments(
    x, shifts, partial, pixels, channels, tiles, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Mean, and sum of squares around it, of each channel in a tile."""
    values, _, inside, columns = _tile(x, shifts, pixels, channels, SHIFTED, ROWS, COLUMNS)
    count = tl.minimum(pixels - tl.program_id(1) * ROWS, ROWS).to(tl.float32)
    mean = tl.sum(tl.where(inside, values, 0.0), 0) / count
    away = tl.where(inside, values - mean[None, :], 0.0)
    place = partial + ((tl.program_id(0) * tiles + tl.program_id(1)) * channels + columns) * 2
    tl.store(place, mean, mask=columns < channels)
    tl.store(place + 1, tl.sum(away * away, 0), mask=columns < channels)


@triton.jit
def _some_tiles(partial, first, channels, tiles, each, EACH: tl.constexpr, TILES: tl.constexpr):
    """The numbers of some tiles, where both of a group's channels lie in `partial`, and which of them are there."""
    tile, own = first + tl.arange(0, TILES), tl.arange(0, EACH)
    place = (tl.program_id(0) * tiles + tile[:, None]) * channels + tl.program_id(1) * each + own[None, :]
    return tile[:, None], partial + place * 2, (tile < tiles)[:, None] & (own < each)[None, :]


@triton.jit(do_not_specialize=["pixels", "tiles", "groups", "each"])
def _gathered(
    partial, found, pixels, channels, tiles, groups, each, epsilon,
    ROWS: tl.constexpr, EACH: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Mean and 1/deviation of a group from those of its tiles (Chan, Golub, LeVeque 1979)."""
    total = tl.zeros([TILES, EACH], tl.float32)
    for first in range(0, tiles, TILES):
        tile, place, inside = _some_tiles(partial, first, channels, tiles, each, EACH, TILES)
        count = tl.minimum(pixels - tile * ROWS, ROWS).to(tl.float32)
        total += count * tl.load(place, mask=inside, other=0.0)
    size = (pixels * each).to(tl.float32)
    mean = tl.sum(tl.sum(total, 1), 0) / size
    spread = tl.zeros([TILES, EACH], tl.float32)
    for first in range(0, tiles, TILES):
        tile, place, inside = _some_tiles(partial, first, channels, tiles, each, EACH, TILES)
        count = tl.minimum(pixels - tile * ROWS, ROWS).to(tl.float32)
        away = tl.load(place, mask=inside, other=0.0) - mean
        spread += tl.where(inside, count * away * away, 0.0) + tl.load(place + 1, mask=inside, other=0.0)
    where = found + (tl.program_id(0) * groups + tl.program_id(1)) * 2
    tl.store(where, mean)
    tl.store(where + 1, 1.0 / tl.sqrt(tl.sum(tl.sum(spread, 1), 0) / size + epsilon))


@triton.jit
def _affine(found, weight, bias, channels, groups, each, columns):
    """Mean and 1/deviation for each column, and the norm's weight and bias."""
    inside = columns < channels
    place = found + (tl.program_id(0) * groups + columns // each) * 2
    mean = tl.load(place, mask=inside, other=0.0)
    over = tl.load(place + 1, mask=inside, other=0.0)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    return mean, over, w, b


@triton.jit(do_not_specialize=["pixels", "groups", "each"])
def _normed(
    x, shifts, found, weight, bias, out, pixels, channels, groups, each,
    SILU: tl.constexpr, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    values, places, inside, columns = _tile(x, shifts, pixels, channels, SHIFTED, ROWS, COLUMNS)
    mean, over, w, b = _affine(found, weight, bias, channels, groups, each, columns)
    z = (values - mean[None, :]) * (over * w)[None, :] + b[None, :]
    if SILU:
        z = z * tl.sigmoid(z)
    tl.store(out + places, z.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _before(
    gradient, apart, stride, x, shifts, found, weight, bias, pixels, channels, groups, each,
    SILU: tl.constexpr, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """For a tile: the normalised values, their gradient, where they lie, and 1/deviation for each column."""
    values, places, inside, columns = _tile(x, shifts, pixels, channels, SHIFTED, ROWS, COLUMNS)
    mean, over, w, b = _affine(found, weight, bias, channels, groups, each, columns)
    normed = (values - mean[None, :]) * over[None, :]
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    place = tl.program_id(0).to(tl.int64) * apart + rows[:, None].to(tl.int64) * stride + columns[None, :]
    slope = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
    if SILU:
        z = normed * w[None, :] + b[None, :]
        open_ = tl.sigmoid(z)
        slope = slope * open_ * (1.0 + z * (1.0 - open_))
    return normed, slope * w[None, :], places, inside, columns, over


@triton.jit(do_not_specialize=["pixels", "tiles", "groups", "each"])
def _slopes(
    gradient, apart, stride, x, shifts, found, weight, bias, partial, pixels, channels, groups, each, tiles,
    SILU: tl.constexpr, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Of each channel in a tile the sum of the gradient, and of its product with the normalised values."""
    normed, slope, _, inside, columns, _ = _before(
        gradient, apart, stride, x, shifts, found, weight, bias, pixels, channels, groups, each,
        SILU, SHIFTED, ROWS, COLUMNS,
    )  # fmt: skip
    slope = tl.where(inside, slope, 0.0)
    place = partial + ((tl.program_id(0) * tiles + tl.program_id(1)) * channels + columns) * 2
    tl.store(place, tl.sum(slope, 0), mask=columns < channels)
    tl.store(place + 1, tl.sum(slope * normed, 0), mask=columns < channels)


@triton.jit(do_not_specialize=["pixels", "tiles", "groups", "each"])
def _summed(partial, sums, pixels, channels, tiles, groups, each, EACH: tl.constexpr, TILES: tl.constexpr):
    """Both sums over a group, divided by the count of its numbers."""
    ones = tl.zeros([TILES, EACH], tl.float32)
    others = tl.zeros([TILES, EACH], tl.float32)
    for first in range(0, tiles, TILES):
        _, place, inside = _some_tiles(partial, first, channels, tiles, each, EACH, TILES)
        ones += tl.load(place, mask=inside, other=0.0)
        others += tl.load(place + 1, mask=inside, other=0.0)
    size = (pixels * each).to(tl.float32)
    where = sums + (tl.program_id(0) * groups + tl.program_id(1)) * 2
    tl.store(where, tl.sum(tl.sum(ones, 1), 0) / size)
    tl.store(where + 1, tl.sum(tl.sum(others, 1), 0) / size)


@triton.jit(do_not_specialize=["pixels", "groups", "each"])
def _turned_back(
    gradient, apart, stride, x, shifts, found, weight, bias, sums, out, pixels, channels, groups, each,
    SILU: tl.constexpr, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    normed, slope, places, inside, columns, over = _before(
        gradient, apart, stride, x, shifts, found, weight, bias, pixels, channels, groups, each,
        SILU, SHIFTED, ROWS, COLUMNS,
    )  # fmt: skip
    place = sums + (tl.program_id(0) * groups + columns // each) * 2
    first = tl.load(place, mask=columns < channels, other=0.0)
    second = tl.load(place + 1, mask=columns < channels, other=0.0)
    back = (slope - first[None, :] - normed * second[None, :]) * over[None, :]
    tl.store(out + places, back.to(out.dtype.element_ty), mask=inside)
