"""The products of a low-rank change s B A beside its frozen layer, in 32 bits: out += s h Bᵀ with h = x Aᵀ, and its
gradients. Each goes over the rows of what it reads once.
"""

from typing import Any

from numba import carray

from tehon.loops.compiled import compiled, inlined
from tehon.loops.given import array2, count_up, next_task, number
from tehon.loops.tiles import add_dots, add_product, f32, fill, on_stack

WIDEST = 2560  # columns
HIGHEST = 16  # rank
_ROWS = 16  # that are there at a time
_GAP = 16  # between rows of a tile; sides that are powers of two would put them all into the same places of the cache
_ALL = _ROWS * (WIDEST + _GAP)
_RANKS = _ROWS * HIGHEST


@inlined
def _copy(tile: Any, x: Any, start: Any, stop: Any, lanes: Any) -> None:
    """tile[r] = x[start + r], or zero from `stop` on, for the rows of a tile."""
    for r in range(_ROWS):
        if start + r < stop:
            seen = x[start + r]
            for i in range(lanes):
                tile[r, i] = seen[i]
        else:
            for i in range(lanes):
                tile[r, i] = f32(0)


@inlined
def _turn(turned: Any, up: Any, scale: Any) -> None:
    """turned[k, i] = scale up[i, k]: rows of B that loops can go along."""
    for k in range(up.shape[1]):
        for i in range(up.shape[0]):
            turned[k, i] = scale * up[i, k]


@compiled
def change(given: Any) -> None:
    """Given x (rows, in), A (rank, in), B (out, rank), s, and what is written: h (rows, rank), and out (rows, out), to
    which is added."""
    x, down, up, scale = array2(given, 0), array2(given, 1), array2(given, 2), f32(number(given, 3))
    h, out, parts = array2(given, 4), array2(given, 5), given[1]
    rank, wide, high = len(down), x.shape[1], out.shape[1]
    turned = carray(on_stack(_ALL), (rank, high + _GAP))
    seen = carray(on_stack(_ALL), (_ROWS, wide + _GAP))
    made = carray(on_stack(_ALL), (_ROWS, high + _GAP))
    ranks = carray(on_stack(_RANKS), (_ROWS, rank))
    _turn(turned, up, scale)
    part = next_task(given, -1)
    while part >= 0:
        stop = (part + 1) * len(x) // parts
        for start in range(part * len(x) // parts, stop, _ROWS):
            _copy(seen, x, start, stop, wide)
            _copy(made, out, start, stop, high)
            fill(ranks, _ROWS, rank, f32(0))
            add_dots(ranks, seen, down, wide)
            add_product(made, ranks, turned, high)
            for r in range(min(_ROWS, stop - start)):
                for k in range(rank):
                    h[start + r, k] = ranks[r, k]
                for i in range(high):
                    out[start + r, i] = made[r, i]
        part = next_task(given, part)


@compiled
def change_backward(given: Any) -> None:
    """Given x, A, B, s, h as for `change`, g (rows, out), what becomes the gradient of x (rows, in), those of A and B,
    and room for parts of these (parts, rank, in + out): adds s dh A to the first, with dh = g B, s dhᵀ x and s gᵀ h."""
    x, down, up, scale = array2(given, 0), array2(given, 1), array2(given, 2), f32(number(given, 3))
    h, pull, to_x = array2(given, 4), array2(given, 5), array2(given, 6)
    to_down, to_up, found, parts = array2(given, 7), array2(given, 8), array2(given, 9), given[1]
    rank, wide, high = len(down), x.shape[1], pull.shape[1]
    turned = carray(on_stack(_ALL), (rank, high + _GAP))
    of_down = carray(on_stack(_ALL), (rank, wide + _GAP))
    of_up = carray(on_stack(_ALL), (rank, high + _GAP))
    seen = carray(on_stack(_ALL), (_ROWS, wide + _GAP))
    pulled = carray(on_stack(_ALL), (_ROWS, high + _GAP))
    made = carray(on_stack(_ALL), (_ROWS, wide + _GAP))
    ranks = carray(on_stack(_RANKS), (_ROWS, rank))
    across = carray(on_stack(_RANKS), (rank, _ROWS))
    back = carray(on_stack(_RANKS), (rank, _ROWS))
    _turn(turned, up, scale)
    part = next_task(given, -1)
    while part >= 0:
        fill(of_down, rank, wide, f32(0))
        fill(of_up, rank, high, f32(0))
        stop = (part + 1) * len(x) // parts
        for start in range(part * len(x) // parts, stop, _ROWS):
            _copy(seen, x, start, stop, wide)
            _copy(pulled, pull, start, stop, high)
            _copy(made, to_x, start, stop, wide)
            fill(ranks, _ROWS, rank, f32(0))
            add_dots(ranks, pulled, turned, high)
            add_product(made, ranks, down, wide)
            for r in range(_ROWS):
                for k in range(rank):
                    back[k, r] = ranks[r, k]
                    across[k, r] = h[start + r, k] * scale if start + r < stop else f32(0)
            add_product(of_down, back, seen, wide)
            add_product(of_up, across, pulled, high)
            for r in range(min(_ROWS, stop - start)):
                for i in range(wide):
                    to_x[start + r, i] = made[r, i]
        for k in range(rank):
            for i in range(wide):
                found[part * rank + k, i] = of_down[k, i]
            for i in range(high):
                found[part * rank + k, wide + i] = of_up[k, i]
        if count_up(given, 10) == parts - 1:  # this is the last, and adds them up in the order of the parts
            fill(of_down, rank, wide, f32(0))
            fill(of_up, rank, high, f32(0))
            for p in range(parts):
                for k in range(rank):
                    one = found[p * rank + k]
                    for i in range(wide):
                        of_down[k, i] += one[i]
                    for i in range(high):
                        of_up[k, i] += one[wide + i]
            for k in range(rank):
                for i in range(wide):
                    to_down[k, i] += of_down[k, i]
                for i in range(high):
                    to_up[i, k] += of_up[k, i]
        part = next_task(given, part)
