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
        "ステップの秒数",
        "相手",
        "最大メモリー、GB",
        "相手",
        "ステップの演算の数",
        "相手",
    ),
}
GPU_HEADS = {
    "performance.md": (
        "card",
        "model, batch, rank",
        "milliseconds a step",
        "share of products' rate",
        "most memory, GiB",
        "diffusers and peft",
        "times as fast",
    ),
    "performance.ja.md": (
        "GPU",
        "モデル、バッチ、ランク",
        "ステップあたりのミリ秒",
        "行列積の速さに対する割合",
        "最大メモリー、GiB",
        "diffusers と peft",
        "何倍速いか",
    ),
}


def write_page(results: Path) -> None:
    """Puts the newest figures into both pages."""
    rows = [json.loads(file.read_text("utf8")) for file in sorted(results.glob("*.json"))]
    rows.sort(key=lambda row: row["clock"]["least_seconds"]["theirs"])
    cards = [json.loads(file.read_text("utf8")) for file in sorted((results.parent / "gpu").glob("*.json"))]
    for name in HEADS:
        page = DOCS / name
        text = _filled(page.read_text("utf8"), "step_time", HEADS[name], [cells(row) for row in rows])
        text = _filled(text, "gpu", GPU_HEADS[name], [row for card in cards for row in card_rows(card)])
        page.write_text(text, "utf8")


def _filled(text: str, mark: str, heads: Any, rows: list[list[str]]) -> str:
    """A page with a table between its marks; as it was when there are no rows."""
    table = "\n".join([line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)])
    marks = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(rf"\g<1>{table}\n\g<2>", text) if rows else text


def card_rows(card: dict[str, Any]) -> list[list[str]]:
    """A row for each case that was measured, alone or in turns."""
    alone = {case["case"]: case for case in card.get("cases", [])}
    turns = {case["case"]: case for case in card.get("in_turns", [])}
    rows: list[list[str]] = []
    for name in dict.fromkeys([*alone, *turns]):
        own, both = alone.get(name), turns.get(name)
        taken = own["seconds"] if own else sorted(both["seconds"]["ours"])[1] if both else 0.0
        theirs = f"{1e3 * sorted(both['seconds']['theirs'])[1]:.0f}" if both else ""
        rows.append(
            [
                card["card"],
                name,
                f"{1e3 * taken:.1f}",
                f"{own['share_of_products']:.0%}" if own else "",
                f"{own['peak_bytes'] / 2**30:.1f}" if own else "",
                theirs,
                f"{both['times_as_fast']:.1f}" if both else "",
            ]
        )
    return rows


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
