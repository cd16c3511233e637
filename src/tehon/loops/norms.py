"""Group norm (arXiv 1803.08494), with SiLU after it or without, and its gradient, in 32 bits.

Pictures have their channels last. Each is read twice and written once, and of it only means and deviations are kept.
Sums are made in 64 bits of sums over a few places in 32.
"""

from typing import Any

import numpy as np
from numba import carray

from tehon.loops.compiled import compiled, inlined
from tehon.loops.given import array1, array2, array3, count, next_task, number
from tehon.loops.tiles import exp2, f32, fill, on_stack

WIDEST = 4096  # channels of a task
_LINES = 2 * WIDEST
_PLACES = 32  # that are summed up in 32 bits
_LOG2_E = f32(1.4426950408889634)


@inlined
def _sigmoid(z: Any) -> Any:
    small = exp2(z * _LOG2_E if z < f32(0) else -z * _LOG2_E)  # of the one below zero, which can't overflow
    return (small if z < f32(0) else f32(1)) / (f32(1) + small)


@inlined
def _add_up(sums: Any, lines: Any, width: Any) -> None:
    """sums[g] += what lines hold of the channels of group g, for two lines."""
    for g in range(len(sums)):
        for i in range(g * width, (g + 1) * width):
            sums[g, 0] += lines[0, i]
            sums[g, 1] += lines[1, i]


@compiled
def norm(given: Any) -> None:
    """Given x (n, places, c), what is added to it (n, c), weight and bias (c,), found (n, groups, 2), out as x, whether
    SiLU follows, what is added to the variance, and into how many parts a picture's groups are cut.

    Writes out, and into found the mean and 1 / deviation of each group.
    """
    x, shift, weight, bias = array3(given, 0), array2(given, 1), array1(given, 2), array1(given, 3)
    found, out, silu, least = array3(given, 4), array3(given, 5), count(given, 6), number(given, 7)
    parts, places, groups = count(given, 8), x.shape[1], found.shape[1]
    width = x.shape[2] // groups
    lines = carray(on_stack(_LINES), (2, WIDEST))
    about = carray(on_stack(WIDEST), (WIDEST,))
    factor = carray(on_stack(WIDEST), (WIDEST,))
    offset = carray(on_stack(WIDEST), (WIDEST,))
    sums = np.zeros((groups, 2), np.float64)
    task = next_task(given, -1)
    while task >= 0:
        n, part = task // parts, task % parts
        begin, end = part * groups // parts, (part + 1) * groups // parts
        first, last = begin * width, end * width
        lanes = last - first
        for g in range(begin, end):
            level = x[n, 0, g * width] + shift[n, g * width]  # near enough to the mean for what is summed up
            for i in range(g * width, (g + 1) * width):
                about[i - first] = level - shift[n, i]
        sums[:] = 0
        for start in range(0, places, _PLACES):
            fill(lines, 2, lanes, f32(0))
            for p in range(start, min(start + _PLACES, places)):
                seen = x[n, p][first:last]
                for i in range(lanes):
                    apart = seen[i] - about[i]
                    lines[0, i] += apart
                    lines[1, i] += apart * apart
            _add_up(sums[: end - begin], lines, width)
        for g in range(begin, end):
            mean = sums[g - begin, 0] / (places * width)
            variance = max(sums[g - begin, 1] / (places * width) - mean * mean, 0.0)
            found[n, g, 0] = mean + x[n, 0, g * width] + shift[n, g * width]
            found[n, g, 1] = 1 / np.sqrt(variance + least)
            for i in range(g * width, (g + 1) * width):
                factor[i - first] = found[n, g, 1] * weight[i]
                offset[i - first] = bias[i] + (shift[n, i] - found[n, g, 0]) * factor[i - first]
        for p in range(places):
            seen, made = x[n, p][first:last], out[n, p][first:last]
            if silu:
                for i in range(lanes):
                    z = seen[i] * factor[i] + offset[i]
                    made[i] = z * _sigmoid(z)
            else:
                for i in range(lanes):
                    made[i] = seen[i] * factor[i] + offset[i]
        task = next_task(given, task)


@compiled
def norm_backward(given: Any) -> None:
    """Given x, what was added to it, weight, bias and what was found, all as for `norm`, the gradient of x, which is
    written, whether SiLU followed, the gradient of out, and how many parts there are.

    With y the normed x and dy the gradient of y: dx = (dy - mean(dy) - y mean(dy y)) / deviation.
    """
    x, shift, weight, bias = array3(given, 0), array2(given, 1), array1(given, 2), array1(given, 3)
    found, to_x, silu, to_out = array3(given, 4), array3(given, 5), count(given, 6), array3(given, 7)
    parts, places, groups = count(given, 8), x.shape[1], found.shape[1]
    width = x.shape[2] // groups
    lines = carray(on_stack(_LINES), (2, WIDEST))
    over = carray(on_stack(WIDEST), (WIDEST,))
    mean = carray(on_stack(WIDEST), (WIDEST,))
    factor = carray(on_stack(WIDEST), (WIDEST,))
    offset = carray(on_stack(WIDEST), (WIDEST,))
    sums = np.zeros((groups, 2), np.float64)
    task = next_task(given, -1)
    while task >= 0:
        n, part = task // parts, task % parts
        begin, end = part * groups // parts, (part + 1) * groups // parts
        first, last = begin * width, end * width
        lanes = last - first
        for g in range(begin, end):
            for i in range(g * width, (g + 1) * width):
                over[i - first] = found[n, g, 1]
                mean[i - first] = (found[n, g, 0] - shift[n, i]) * found[n, g, 1]
                factor[i - first], offset[i - first] = weight[i], bias[i]
        sums[:] = 0
        for start in range(0, places, _PLACES):
            fill(lines, 2, lanes, f32(0))
            for p in range(start, min(start + _PLACES, places)):
                seen, pull, made = x[n, p][first:last], to_out[n, p][first:last], to_x[n, p][first:last]
                if silu:
                    for i in range(lanes):
                        y = seen[i] * over[i] - mean[i]
                        z = y * factor[i] + offset[i]
                        open = _sigmoid(z)
                        made[i] = pull[i] * factor[i] * open * (f32(1) + z * (f32(1) - open))
                        lines[0, i] += made[i]
                        lines[1, i] += made[i] * y
                else:
                    for i in range(lanes):
                        made[i] = pull[i] * factor[i]
                        lines[0, i] += made[i]
                        lines[1, i] += made[i] * (seen[i] * over[i] - mean[i])
            _add_up(sums[: end - begin], lines, width)
        for g in range(begin, end):
            for i in range(g * width, (g + 1) * width):
                lines[0, i - first] = sums[g - begin, 0] / (places * width)
                lines[1, i - first] = sums[g - begin, 1] / (places * width)
        for p in range(places):
            seen, made = x[n, p][first:last], to_x[n, p][first:last]
            for i in range(lanes):
                y = seen[i] * over[i] - mean[i]
                made[i] = over[i] * (made[i] - lines[0, i] - y * lines[1, i])
        task = next_task(given, task)
