"""Times training on a graphics card: tehon by model, batch, rank and checkpointing, and in turns with diffusers' way.

    python benchmarks/gpu.py [--models sd15 sdxl] [--quick]

First both sides get the same weights and one batch, and must agree in loss and gradients; without that there are no
figures. Everything is measured within ten minutes on an H100 or H200. Writes `benchmarks/results/gpu/CARD.json`;
`python benchmarks/step_time.py --table` writes the tables of docs/performance.md.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import gpu_probes
import torch
from gpu_models import MODELS, real_folder
from gpu_ours import Batch, Case, Ours, clear, measured, ours, seconds
from gpu_theirs import Theirs

from tehon.training import assemble as assembling

RESULTS = Path(__file__).parent / "results" / "gpu"
STEP_FLOP = {"sd15": {8: 1793e9, 64: 1911e9}, "sdxl": {8: 14603e9, 64: 15556e9}}
"""Of a step with one picture, counted with torch.utils.flop_counter on diffusers' networks, attention's backward as
flash computes it; what checkpointing computes again is not work that is asked for, and not among them."""
COSINE, LOSS = 0.999, 2e-3


def cases(models: list[str], quick: bool) -> list[Case]:
    """The most wanted first. Rank 64 is timed at batch 1, where it costs the most in proportion."""
    wanted = [(1, 8)] if quick else [(1, 8), (1, 64), (4, 8), (16, 8)]
    ways = ("off", "whole")
    return [Case(model, batch, rank, way) for batch, rank in wanted for way in ways for model in models]


def share(case: Case, taken: float, peak: float) -> float:
    """Of the card's measured rate of matrix products."""
    return STEP_FLOP[case.model][case.rank] * case.batch / taken / peak


def guard(one: Ours, theirs: Theirs, batch: Batch) -> dict[str, float]:
    """How far both sides are apart; an AssertionError where it is more than bf16's rounding."""
    (loss, own), (other, their) = one.guard(batch), theirs.guard(one.trainer.behaviour.family)
    assert own.keys() == their.keys(), sorted(own.keys() ^ their.keys())[:4]
    left, right = (torch.cat([found[key] for key in sorted(found)]).double() for found in (own, their))
    cosine = float(left @ right / left.norm() / right.norm())
    assert abs(loss / other - 1) < LOSS, (loss, other)
    assert cosine > COSINE, cosine
    return {"loss": abs(loss / other - 1), "cosine": cosine, "length": float(left.norm() / right.norm())}


def in_turns(root: Path, case: Case, rounds: int = 3) -> dict[str, Any]:
    """Both sides in one process, some steps each in turns; theirs in the faster of two layouts."""
    with ours(root, case) as one:
        batch = one.batch()
        before = torch.cuda.memory_allocated()
        theirs = Theirs(real_folder(root, case.model), case.rank, batch)
        tried: dict[str, float] = {}
        for layout in ("nhwc", "nchw"):
            theirs.lay_out(layout)
            seconds(theirs.step, 1)
            tried[layout] = seconds(theirs.step, 2)
        torch.cuda.reset_peak_memory_stats()
        seconds(theirs.step, 1)
        peak = torch.cuda.max_memory_allocated() - before
        theirs.lay_out(min(tried, key=tried.__getitem__))
        differ = guard(one, theirs, batch)
        seconds(one.step, 3)
        seconds(theirs.step, 1)
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(rounds):
            times["ours"].append(seconds(one.step, 12))
            times["theirs"].append(seconds(theirs.step, 3))
        ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
        found = {"case": case.name, "guard": differ, "seconds": times, "layouts": tried, "their_peak_bytes": peak}
        del theirs
    clear()
    return found | {"times_as_fast": sorted(ratios)[rounds // 2], "from_to": [min(ratios), max(ratios)]}


def captured_against_plain(root: Path, case: Case, steps: int = 4) -> dict[str, Any]:
    """Losses of the first updates as graphs and kernel by kernel, and what a step then takes."""
    losses: dict[str, list[float]] = {}
    taken = 0.0
    for graphs in ("on", "off"):
        with ours(root, case, cuda_graphs=graphs) as one:
            losses[graphs] = [float(one.step()) for _ in range(steps)]
            taken = seconds(one.step, 3)
    worst = max(abs(a / b - 1) for a, b in zip(losses["on"], losses["off"], strict=True))
    return {"case": case.name, "losses_apart": worst, "seconds_without_graphs": taken}


def without_lean(root: Path, case: Case) -> dict[str, Any]:
    """The case with diffusers' own blocks, channels first."""
    own = assembling._lean
    assembling._lean = lambda *_: None
    try:
        return measured(root, case) | {"what": "diffusers' own blocks, channels first"}
    finally:
        assembling._lean = own


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--quick", action="store_true", help="batch 1 and rank 8 alone")
    parser.add_argument("--folder", type=Path, help="where models are kept; without it they are written for the run")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    card = torch.cuda.get_device_name()
    found: dict[str, Any] = {"card": card, "torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    file: Path = options.results / f"{card.replace(' ', '-').lower()}.json"
    file.parent.mkdir(parents=True, exist_ok=True)

    def note(name: str, value: Any) -> None:
        if isinstance(found.get(name), list):
            found[name].append(value)
        else:
            found[name] = value
        print(name, json.dumps(value), flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n", "utf8")

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        root: Path = options.folder or Path(place)
        note("limits", gpu_probes.limits())
        found |= {"in_turns": [], "captured": [], "cases": [], "plain_blocks": []}
        ones = [Case(model, 1) for model in options.models]
        for case in ones:
            note("in_turns", in_turns(root, case))
        for case in cases(options.models, options.quick):
            row = measured(root, case)
            note("cases", row | {"share_of_products": share(case, row["seconds"], found["limits"]["flops"])})
        for case in ones:
            note("captured", captured_against_plain(root, case))
        for model in options.models[:1]:
            note("in_turns", in_turns(root, Case(model, 4)))
        note("attention", gpu_probes.attention())
        note("encoding", gpu_probes.encoding())
        for case in ones:
            note("plain_blocks", without_lean(root, case))


if __name__ == "__main__":
    main()
