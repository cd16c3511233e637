"""The charts of the page, as options for ECharts; and small pictures of a few numbers, as SVG."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

INK, SEAL, INDIGO, MOSS = "#6b675f", "#c8452f", "#3d6ea5", "#4f8a5b"
_COLOURS = [SEAL, INDIGO, MOSS, "#b8862d", "#7a5ca3", "#3f9a9a"]
_LINES = {"lineStyle": {"color": "#8884"}}


def buckets(rows: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Bars of (size, readings in an epoch)."""
    return {
        **_frame(left=76),
        "xAxis": {"type": "value", "minInterval": 1, "splitLine": _LINES, "axisLabel": {"color": INK}},
        "yAxis": {"type": "category", "data": [name for name, _ in rows], "inverse": True, "axisLabel": {"color": INK}},
        "series": [{"type": "bar", "data": [count for _, count in rows], "barMaxWidth": 16, "itemStyle": _round(SEAL)}],
    }


def norms(rows: Mapping[str, float]) -> dict[str, Any]:
    """Bars of a LoRA's change by block."""
    return {
        **_frame(left=58, bottom=70),
        "xAxis": {"type": "category", "data": list(rows), "axisLabel": {"color": INK, "rotate": 60, "interval": 0}},
        "yAxis": {"type": "value", "splitLine": _LINES, "axisLabel": {"color": INK}},
        "series": [
            {
                "type": "bar",
                "data": [float(f"{norm:.4g}") for norm in rows.values()],
                "barMaxWidth": 22,
                "itemStyle": {"color": SEAL, "borderRadius": [3, 3, 0, 0]},
            }
        ],
    }


def blocks(title: str, rows: Mapping[str, float]) -> str:
    """An SVG of 300 x 58 with a bar for each block of a U-Net, the largest 40 high, and a short line where a block has
    0. The first and last block and the middle are named below; all are in the label and, with their numbers, in tips.

    >>> blocks("Rank by block", {"IN00": 0.0, "MID": 8.0, "OUT00": 4.0}).count("<rect")
    3
    """
    across, most = 300 / max(1, len(rows)), max([*rows.values(), 0.0]) or 1.0
    said = escape(f"{title}: " + ", ".join(f"{name} {value:g}" for name, value in rows.items()), quote=True)
    parts = [f'<svg class="blocks" viewBox="0 0 300 58" role="img" aria-label="{said}">']
    for number, (name, value) in enumerate(rows.items()):
        high = max(1.0, 40 * value / most)
        fill = SEAL if value else "#8886"
        place = f'x="{number * across + across * 0.12:.1f}" y="{42 - high:.1f}" width="{across * 0.76:.1f}"'
        tip = f"<title>{escape(name)}: {value:g}</title>"
        parts.append(f'<rect {place} height="{high:.1f}" rx="1.5" fill="{fill}">{tip}</rect>')
        anchor = {0: "start", len(rows) - 1: "end"}.get(number, "middle" if name == "MID" else "")
        if anchor:
            at = (number + {"start": 0, "middle": 0.5, "end": 1}[anchor]) * across
            parts.append(f'<text x="{at:.1f}" y="55" text-anchor="{anchor}">{escape(name)}</text>')
    return "".join(parts) + "</svg>"


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], *, logarithmic: bool = False) -> dict[str, Any]:
    """Lines of (step, value), by name."""
    return {
        **_frame(left=58, bottom=46),
        "legend": {"type": "scroll", "bottom": 0, "textStyle": {"color": INK}, "itemWidth": 14, "itemHeight": 8},
        "xAxis": {
            "type": "value",
            "max": "dataMax",
            "splitLine": {"show": False},
            "axisLabel": {"color": INK, "hideOverlap": True},
        },
        "yAxis": {
            "type": "log" if logarithmic else "value",
            "scale": True,
            "splitLine": _LINES,
            "axisLabel": {"color": INK},
        },
        "series": [line(name, points, _COLOURS[at % len(_COLOURS)]) for at, (name, points) in enumerate(lines.items())],
    }


def line(name: str, points: Sequence[tuple[float, float]], colour: str, width: float = 2) -> dict[str, Any]:
    """One line of a chart."""
    return {
        "name": name,
        "type": "line",
        "data": [list(point) for point in points],
        "showSymbol": len(points) < 2,
        "lineStyle": {"width": width},
        "itemStyle": {"color": colour},
        "sampling": "lttb",
        "animation": False,
    }


def _frame(*, left: int = 50, bottom: int = 24) -> dict[str, Any]:
    return {
        "animation": False,
        "grid": {"left": left, "right": 16, "top": 14, "bottom": bottom},
        "tooltip": {"trigger": "axis", "confine": True},
    }


def _round(colour: str) -> dict[str, Any]:
    return {"color": colour, "borderRadius": [0, 3, 3, 0]}
