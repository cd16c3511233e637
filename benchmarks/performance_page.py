"""The tables of docs/performance.md and its Japanese twin, between their marks, from what `step_time.py` measured."""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
HEADS = {
    "performance.md": (
        "size",
        "text encoder trained",
        "times as fast",
        "by computing time",
        "seconds a step",
        "theirs",
        "most memory, GB",
        "theirs",
        "operators a step",
        "theirs",
    ),
    "performance.ja.md": (
        "大きさ",
        "テキストエンコーダーも学習",
        "何倍速いか",
        "計算時間で比べると",
        "1 ステップの秒数",
        "相手",
        "最大メモリー、GB",
        "相手",
        "1 ステップの演算の数",
        "相手",
    ),
}
_MARKS = re.compile(r"(<!-- step_time -->\n).*?(<!-- end -->)", re.DOTALL)


def write_page(results: Path) -> None:
    """Puts the newest figures into both pages."""
    rows = [json.loads(file.read_text("utf8")) for file in sorted(results.glob("*.json"))]
    if not rows:
        return
    rows.sort(key=lambda row: row["clock"]["least_seconds"]["theirs"])
    for name, heads in HEADS.items():
        page = DOCS / name
        lines = [line(heads), line(["---"] * len(heads)), *(line(cells(row)) for row in rows)]
        table = "\n".join(lines)
        page.write_text(_MARKS.sub(rf"\g<1>{table}\n\g<2>", page.read_text("utf8")), "utf8")


def line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def cells(row: dict[str, Any]) -> list[str]:
    clock, peak, operators = row["clock"], row["peak_bytes"], row["operators"]
    return [
        row["size"],
        "+" if row["about"]["text"] else "–",
        f"{clock['times_as_fast']:.2f}",
        f"{row['computing']['times_as_fast']:.2f}",
        *(f"{clock['median_seconds'][side]:.3f}" for side in ("ours", "theirs")),
        *(f"{peak[side] / 1e9:.2f}" for side in ("ours", "theirs")),
        *(str(operators[side]) for side in ("ours", "theirs")),
    ]
