"""What loops are made of: products of matrices that are tiles of larger ones.

A product adds to rows of a tile, from four rows of another at a time, so that each number that is loaded is used often.
Where tiles lie on the stack, the compiler knows that none reaches into another, and products run near the rate that the
processor can reach at all.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from tehon.loops.compiled import inlined, inserted

f32: Any = np.float32


@inserted
def on_stack(_: Any, size: Any) -> Any:
    """A pointer to `size` numbers that live as long as the loop that asks for them. `size` is a constant."""
    if not isinstance(size, types.IntegerLiteral):
        return None

    def generate(_: Any, builder: Any, __: Any, ___: Any) -> Any:
        with builder.goto_entry_block():
            numbers = builder.alloca(ir.ArrayType(ir.FloatType(), size.literal_value))
            numbers.align = 64
        return builder.bitcast(numbers, ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(size), generate


@inlined
def exp2(x: Any) -> Any:
    """2ˣ for x ≤ 0, at least 2⁻¹⁰⁰, within 2.4e-7 of itself: 2ⁿ 2ᶠ with n whole and |f| ≤ 1/2, where the polynomial of
    degree 5 with the least relative error stands for 2ᶠ."""
    x = f32(-100) if x < f32(-100) else x  # not the other way round: NaN stays
    n = np.int32(x - f32(0.5))
    f = x - f32(n)
    power = f32(1.3276472049094032e-3)
    power = power * f + f32(9.675541384704403e-3)
    power = power * f + f32(5.550713273760409e-2)
    power = power * f + f32(2.402211972291407e-1)
    power = power * f + f32(6.93146967064325e-1)
    power = power * f + f32(1)
    return power * np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def fill(tile: Any, rows: Any, lanes: Any, value: Any) -> None:
    """tile[r, i] = value for r below `rows`, i below `lanes`."""
    for r in range(rows):
        for i in range(lanes):
            tile[r, i] = value


@inlined
def add_product(tile: Any, a: Any, b: Any, lanes: Any) -> None:
    """tile[r, i] += Σ a[r, k] b[k, i] for all r, k of a, whose sides are multiples of 4, and i below `lanes`."""
    for r in range(0, a.shape[0], 4):
        for k in range(0, a.shape[1], 4):
            a00, a01, a02, a03 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            a10, a11, a12, a13 = a[r + 1, k], a[r + 1, k + 1], a[r + 1, k + 2], a[r + 1, k + 3]
            a20, a21, a22, a23 = a[r + 2, k], a[r + 2, k + 1], a[r + 2, k + 2], a[r + 2, k + 3]
            a30, a31, a32, a33 = a[r + 3, k], a[r + 3, k + 1], a[r + 3, k + 2], a[r + 3, k + 3]
            for i in range(lanes):
                b0, b1, b2, b3 = b[k, i], b[k + 1, i], b[k + 2, i], b[k + 3, i]
                tile[r, i] = tile[r, i] + a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                tile[r + 1, i] = tile[r + 1, i] + a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                tile[r + 2, i] = tile[r + 2, i] + a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                tile[r + 3, i] = tile[r + 3, i] + a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


@inlined
def add_dots(out: Any, a: Any, b: Any, lanes: Any) -> None:
    """out[r, k] += Σ a[r, i] b[k, i] for all r, k of out, whose sides are multiples of 4, and i below `lanes`."""
    for r in range(0, out.shape[0], 2):
        for k in range(0, out.shape[1], 4):
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = f32(0)
            for i in range(lanes):
                a0, a1 = a[r, i], a[r + 1, i]
                b0, b1, b2, b3 = b[k, i], b[k + 1, i], b[k + 2, i], b[k + 3, i]
                s00 += a0 * b0
                s01 += a0 * b1
                s02 += a0 * b2
                s03 += a0 * b3
                s10 += a1 * b0
                s11 += a1 * b1
                s12 += a1 * b2
                s13 += a1 * b3
            out[r, k] += s00
            out[r, k + 1] += s01
            out[r, k + 2] += s02
            out[r, k + 3] += s03
            out[r + 1, k] += s10
            out[r + 1, k + 1] += s11
            out[r + 1, k + 2] += s12
            out[r + 1, k + 3] += s13
