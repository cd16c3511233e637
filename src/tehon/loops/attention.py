"""Attention in 32 bits, softmax(Q Kᵀ / √d) V and its gradients, tile by tile as in FlashAttention (arXiv 2205.14135 and
2307.08691): the weights of some queries for some keys are there at a time, in the processor's nearest memory.

Along the rows of tiles lie queries in the forward, whose softmax then needs no sums along a row, and keys in the
backward.
"""

from typing import Any

import numpy as np
from numba import carray

from tehon.loops.compiled import compiled, inlined
from tehon.loops.given import array3, array4, next_task
from tehon.loops.tiles import add_dots, add_product, exp2, f32, fill, on_stack

WIDEST = 160  # numbers of a head
_LANES = 128  # numbers of a tile's row that are used
_STRIDE = _LANES + 16  # from row to row; a power of two would put all rows into the same places of the cache
_ROWS = 64  # of a tile of weights
_WEIGHTS = _ROWS * _STRIDE
_SIDES = WIDEST * _STRIDE

_LOG2_E = f32(1.4426950408889634)
_LN_2 = f32(0.6931471805599453)
_LEAST = f32(-1e30)


@inlined
def _larger(a: Any, b: Any) -> Any:
    return a if a > b else b


@inlined
def _weigh(
    weights: Any, seen: Any, largest: Any, before: Any, sums: Any, rows: int, even: int, lanes: int, wide: int
) -> None:
    """A tile of products becomes weights, relative to the largest product so far. What was seen and summed up with an
    earlier one is scaled down to it; `before` is room for that."""
    for i in range(lanes):
        before[i] = largest[i]
    for j in range(rows, even):
        for i in range(lanes):
            weights[j, i] = _LEAST
    for j in range(0, even, 4):
        for i in range(lanes):
            one = _larger(weights[j, i], weights[j + 1, i])
            other = _larger(weights[j + 2, i], weights[j + 3, i])
            largest[i] = _larger(largest[i], _larger(one, other))
    for i in range(lanes):
        before[i] = exp2(before[i] - largest[i])
        sums[i] *= before[i]
    for k in range(wide):
        for i in range(lanes):
            seen[k, i] *= before[i]
    for j in range(0, even, 2):
        for i in range(lanes):
            one = exp2(weights[j, i] - largest[i])
            other = exp2(weights[j + 1, i] - largest[i])
            weights[j, i], weights[j + 1, i] = one, other
            sums[i] += one + other


@compiled
def attend(given: Any) -> None:
    """Given query, key, value, out and total: writes what a head sees, and log₂ of what its weights add up to.

    query, out: (n, places, heads, d); key, value: (n, other places, heads, d); total: (n, heads, places). d ≤ 160.
    """
    query, key, value, out = array4(given, 0), array4(given, 1), array4(given, 2), array4(given, 3)
    total = array3(given, 4)
    places, heads, d = query.shape[1:]
    others = key.shape[1]
    scale = _LOG2_E / f32(np.sqrt(d))
    wide = (d + 3) // 4 * 4
    keys = np.zeros(((others + 3) // 4 * 4, wide), f32)  # of one head
    values = np.zeros_like(keys)
    queries = carray(on_stack(_SIDES), (WIDEST, _STRIDE))
    weights = carray(on_stack(_WEIGHTS), (_ROWS, _STRIDE))
    seen = carray(on_stack(_SIDES), (WIDEST, _STRIDE))
    largest = carray(on_stack(_STRIDE), (_STRIDE,))
    before = carray(on_stack(_STRIDE), (_STRIDE,))
    sums = carray(on_stack(_STRIDE), (_STRIDE,))
    fill(queries, wide, _LANES, f32(0))
    task = next_task(given, -1)
    while task >= 0:
        n, head = task // heads, task % heads
        for j in range(others):
            for k in range(d):
                keys[j, k] = key[n, j, head, k] * scale
                values[j, k] = value[n, j, head, k]
        for start in range(0, places, _LANES):
            used = min(_LANES, places - start)
            lanes = (used + 15) // 16 * 16
            for i in range(used):
                for k in range(d):
                    queries[k, i] = query[n, start + i, head, k]
            fill(seen, wide, lanes, f32(0))
            for i in range(lanes):
                largest[i] = _LEAST
                sums[i] = 0
            for tile in range(0, others, _ROWS):
                rows = min(_ROWS, others - tile)
                even = (rows + 3) // 4 * 4
                fill(weights, even, lanes, f32(0))
                add_product(weights, keys[tile : tile + even], queries, lanes)
                _weigh(weights, seen, largest, before, sums, rows, even, lanes, wide)
                add_product(seen, values[tile : tile + even].T, weights, lanes)
            for k in range(d):
                for i in range(lanes):
                    seen[k, i] /= sums[i]
            for i in range(used):
                for k in range(d):
                    out[n, start + i, head, k] = seen[k, i]
                total[n, head, start + i] = largest[i] + np.log2(sums[i])
        task = next_task(given, task)


@inlined
def _weigh_back(
    weights: Any,
    to_weights: Any,
    queries: Any,
    to_outs: Any,
    totals: Any,
    means: Any,
    keys: Any,
    values: Any,
    used: int,
    lanes: int,
) -> None:
    """The weights P of a tile, and the gradient dS of the products behind them."""
    rows = len(queries)
    for i in range(rows):
        for j in range(lanes):
            weights[i, j] = -totals[i]
            to_weights[i, j] = -means[i]
    add_product(weights, queries, keys, lanes)
    add_product(to_weights, to_outs, values, lanes)
    for i in range(rows):
        for j in range(used):
            weights[i, j] = exp2(weights[i, j])
            to_weights[i, j] *= weights[i, j]
        for j in range(used, lanes):
            weights[i, j] = to_weights[i, j] = 0


@compiled
def attend_backward(given: Any) -> None:
    """Given query, key, value, out, its gradient and total, as `attend` has them, writes what is given behind them: the
    gradients of query, key and value, in their shapes.

    With the weights P: dV = Pᵀ dO, dS = P (dO Vᵀ - Σ dO O), dQ = dS K / √d, dK = dSᵀ Q / √d.
    """
    query, key, value = array4(given, 0), array4(given, 1), array4(given, 2)
    out, to_out, total = array4(given, 3), array4(given, 4), array3(given, 5)
    to_query, to_key, to_value = array4(given, 6), array4(given, 7), array4(given, 8)
    places, heads, d = query.shape[1:]
    others = key.shape[1]
    root = f32(1 / np.sqrt(d))
    wide = (d + 3) // 4 * 4
    padded = (places + 3) // 4 * 4
    queries = np.zeros((padded, wide), f32)  # of one head
    to_outs = np.zeros_like(queries)
    to_queries = np.zeros_like(queries)
    totals = np.zeros(padded, f32)
    means = np.zeros(padded, f32)
    keys = carray(on_stack(_SIDES), (WIDEST, _STRIDE))
    values = carray(on_stack(_SIDES), (WIDEST, _STRIDE))
    to_keys = carray(on_stack(_SIDES), (WIDEST, _STRIDE))
    to_values = carray(on_stack(_SIDES), (WIDEST, _STRIDE))
    weights = carray(on_stack(_WEIGHTS), (_ROWS, _STRIDE))
    to_weights = carray(on_stack(_WEIGHTS), (_ROWS, _STRIDE))
    fill(keys, wide, _LANES, f32(0))
    fill(values, wide, _LANES, f32(0))
    task = next_task(given, -1)
    while task >= 0:
        n, head = task // heads, task % heads
        to_queries[:] = 0
        for i in range(places):
            mean = f32(0)
            for k in range(d):
                queries[i, k] = query[n, i, head, k]
                to_outs[i, k] = to_out[n, i, head, k]
                mean += to_out[n, i, head, k] * out[n, i, head, k]
            totals[i], means[i] = total[n, head, i], mean
        for start in range(0, others, _LANES):
            used = min(_LANES, others - start)
            lanes = (used + 15) // 16 * 16
            for j in range(used):
                for k in range(d):
                    keys[k, j] = key[n, start + j, head, k] * (_LOG2_E * root)
                    values[k, j] = value[n, start + j, head, k]
            fill(to_keys, wide, lanes, f32(0))
            fill(to_values, wide, lanes, f32(0))
            for place in range(0, padded, _ROWS):
                end = min(place + _ROWS, padded)
                some, to_some = queries[place:end], to_outs[place:end]
                _weigh_back(
                    weights, to_weights, some, to_some, totals[place:end], means[place:end], keys, values, used, lanes
                )
                add_product(to_values, to_some.T, weights, lanes)
                add_product(to_keys, some.T, to_weights, lanes)
                add_dots(to_queries[place:end], to_weights, keys, lanes)
            for j in range(used):
                for k in range(d):
                    to_key[n, start + j, head, k] = to_keys[k, j] * root
                    to_value[n, start + j, head, k] = to_values[k, j]
        for i in range(places):
            for k in range(d):
                to_query[n, i, head, k] = to_queries[i, k] * _LN_2
        task = next_task(given, task)
