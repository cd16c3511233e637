"""DyLoRA cut at some ranks against a LoRA brought down to them afterwards, on the small task of its test.

`python benchmarks/dylora_cuts.py` writes benchmarks/results/dylora_cuts.json; `--table` prints the table of
docs/networks.md from it. The LoRA has the best of three learning rates, by its error at full rank, and DyLoRA that one
too. `--fall` is how fast the strengths of the change that is to be learned fall: the k-th is k ** -fall.
"""

import argparse
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

import torch

FILE = Path(__file__).parent / "results" / "dylora_cuts.json"
TEST = Path(__file__).parents[1] / "tests" / "adapters" / "test_dylora.py"
RATES = (5e-3, 1e-2, 2e-2)


def measured(fall: float, seeds: int) -> dict[str, Any]:
    """The errors of both by rank, means over the seeds."""
    spec = importlib.util.spec_from_file_location("test_dylora", TEST)
    assert spec is not None
    assert spec.loader is not None
    task: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    task.FALL = fall
    rows: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        tried = {rate: task.errors(seed, 0, rate) for rate in RATES}
        rate = min(RATES, key=lambda rate: tried[rate][task.RANK])
        rows.append({"seed": seed, "rate": rate, "lora": tried[rate], "dylora": task.errors(seed, 1, rate)})
    means = {
        name: {rank: sum(row[name][rank] for row in rows) / len(rows) for rank in rows[0][name]}
        for name in ("lora", "dylora")
    }
    return {"fall": fall, "seeds": rows, **means}


def table(found: dict[str, Any]) -> str:
    """Markdown from the results."""
    falls = sorted(found["falls"])
    head = ["rank", *(f"{name}, {fall}" for fall in falls for name in ("DyLoRA cut", "LoRA truncated"))]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for rank in found["falls"][falls[0]]["lora"]:
        cells = [f"{found['falls'][fall][name][rank]:.4f}" for fall in falls for name in ("dylora", "lora")]
        lines.append(f"| {' | '.join([rank, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fall", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(FILE.read_text("utf8")) if FILE.exists() else {"falls": {}}
    if options.table:
        print(table(found))
        return
    for fall in options.fall:
        found["falls"][str(fall)] = measured(fall, options.seeds)
        found |= {"torch": torch.__version__, "python": platform.python_version()}
        FILE.write_text(json.dumps(found, indent=2) + "\n", "utf8")
        print(fall, json.dumps(found["falls"][str(fall)]["lora"]), json.dumps(found["falls"][str(fall)]["dylora"]))


if __name__ == "__main__":
    main()
