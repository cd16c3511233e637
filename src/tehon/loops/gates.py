"""Gates in 32 bits: h gelu(g) (GEGLU, arXiv 2002.05202) and its gradient, in one pass each."""

from typing import Any

from tehon.loops.compiled import compiled, inlined
from tehon.loops.given import array2, array3, next_task
from tehon.loops.tiles import exp2, f32

_HALF_LOG2_E = f32(0.7213475204444817)
_OVER_ROOT_2_PI = f32(0.3989422804014327)


@inlined
def _bell(g: Any) -> Any:
    """exp(-g² / 2), zero below 2⁻¹⁰⁰, so that what follows is not denormal."""
    exponent = -_HALF_LOG2_E * g * g
    return f32(0) if exponent < f32(-100) else exp2(exponent)


@inlined
def _below(g: Any, bell: Any) -> Any:
    """The share of a normal distribution that lies below g, to 1e-7 (Abramowitz and Stegun, 7.1.26)."""
    size = -g if g < f32(0) else g
    t = f32(1) / (f32(1) + f32(0.3275911 * 0.7071067811865476) * size)
    tail = f32(0.5 * 1.061405429)
    tail = tail * t + f32(0.5 * -1.453152027)
    tail = tail * t + f32(0.5 * 1.421413741)
    tail = tail * t + f32(0.5 * -0.284496736)
    tail = tail * t + f32(0.5 * 0.254829592)
    tail = tail * t * bell
    return tail if g < f32(0) else f32(1) - tail


@compiled
def gate(given: Any) -> None:
    """Given pairs (rows, 2, n), which hold h and g, and out (rows, n): out = h gelu(g) for a share of the rows."""
    pairs, out, parts = array3(given, 0), array2(given, 1), given[1]
    part = next_task(given, -1)
    while part >= 0:
        for r in range(part * len(out) // parts, (part + 1) * len(out) // parts):
            for i in range(out.shape[1]):
                g = pairs[r, 1, i]
                out[r, i] = pairs[r, 0, i] * g * _below(g, _bell(g))
        part = next_task(given, part)


@compiled
def gate_backward(given: Any) -> None:
    """Given pairs, the gradient of out and that of pairs, which is written."""
    pairs, to_out, to_pairs, parts = array3(given, 0), array2(given, 1), array3(given, 2), given[1]
    part = next_task(given, -1)
    while part >= 0:
        for r in range(part * len(to_out) // parts, (part + 1) * len(to_out) // parts):
            for i in range(to_out.shape[1]):
                g = pairs[r, 1, i]
                bell = _bell(g)
                below = _below(g, bell)
                to_pairs[r, 0, i] = to_out[r, i] * g * below
                to_pairs[r, 1, i] = to_out[r, i] * pairs[r, 0, i] * (below + g * bell * _OVER_ROOT_2_PI)
        part = next_task(given, part)
