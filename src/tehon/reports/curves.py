"""Curves as SVG: one line for each run over the same axes.

>>> chart("loss", {"a": [(1, 0.2), (2, 0.1)]})
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10

COLOURS = ("#3b6fb6", "#c4622d", "#3f8f5f", "#8a5aa8", "#a8892c", "#5b8a99")
_WIDTH, _HEIGHT = 900, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 26
_MOST = 600  # points of a line; more are not seen
Points = Sequence[tuple[float, float]]


def chart(title: str, lines: Mapping[str, Points]) -> str:
    """A figure with axes and a key; empty when no line has a point."""
    drawn = {name: thinned(points) for name, points in lines.items() if points}
    if not drawn:
        return ""
    every = [point for points in drawn.values() for point in points]
    (low, high), (first, last) = _range([y for _, y in every]), _range([x for x, _ in every])
    across = (_WIDTH - _LEFT - _RIGHT) / (last - first)
    up = (_HEIGHT - _TOP - _BOTTOM) / (high - low)

    def place(x: float, y: float) -> str:
        return f"{_LEFT + (x - first) * across:.1f},{_HEIGHT - _BOTTOM - (y - low) * up:.1f}"

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in ticks(low, high):
        height = place(first, tick).partition(",")[2]
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}" stroke="var(--line)"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{float(height) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(first, last):
        if tick == int(tick):
            left = place(tick, low).partition(",")[0]
            parts.append(f'<text x="{left}" y="{_HEIGHT - 6}" text-anchor="middle">{tick:g}</text>')
    for number, name in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        if name in drawn:
            path = " ".join(place(*point) for point in drawn[name])
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
            if len(drawn[name]) < 20:
                spots = (place(*point).split(",") for point in drawn[name])
                parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in spots]
    keys = "".join(
        f'<span class="key" style="background:{COLOURS[number % len(COLOURS)]}"></span>{escape(name)} &emsp;'
        for number, name in enumerate(lines)
        if name in drawn
    )
    return f"<figure><figcaption>{escape(title)} &emsp; {keys}</figcaption>\n{''.join(parts)}</svg></figure>"


def smoothed(points: Points, width: int) -> list[tuple[float, float]]:
    """The mean of each point and the `width` - 1 before it."""
    found: list[tuple[float, float]] = []
    total = 0.0
    for number, (x, y) in enumerate(points):
        total += y - (points[number - width][1] if number >= width else 0.0)
        found.append((x, total / min(number + 1, width)))
    return found


def smoothed_loss(points: Points) -> list[tuple[float, float]]:
    """The mean over a fortieth of the run, or ten steps, but never over more than a quarter."""
    count = len(points)
    return smoothed(points, max(1, min(count // 4, max(count // 40, 10))))


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most so many points as can be seen, the first and the last among them."""
    if len(points) <= _MOST:
        return list(points)
    step = (len(points) - 1) / (_MOST - 1)
    return [points[round(number * step)] for number in range(_MOST)]


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two others: four to nine of them."""
    raw = (high - low) / 5
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = -floor(-low / step)
    return [round(number * step, 12) for number in range(first, floor(high / step + 1e-9) + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - room, high + room
