"""Trains Stable Diffusion of several sizes with tehon and with diffusers and peft, in turns, and compares their times.

    python benchmarks/step_time.py [--sizes tiny small] [--text] [--rounds 3] [--folder FOLDER]
    python benchmarks/step_time.py --table

Each side is a process of its own (`side_tehon.py`, `side_diffusers.py`); both are there at once and take some steps in
turns, so that the ratio of their times is free of what else the machine does. Before a step is timed, both get the same
weights, latents, noise and timestep, and have to give the same loss and gradients: without that there are no figures.
Each run writes `benchmarks/results/step_time/SIZE[-text].json`; `--table` writes the tables of docs/performance.md.
"""

import argparse
import json
import os
import tempfile
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from performance_page import write_page
from side import Side, side
from sizes import CAPTION, SIZES, model_folder, pictures_folder

RESULTS = Path(__file__).parent / "results" / "step_time"
Times = dict[str, list[list[float]]]
"""{side: seconds of each step, by round}."""
CLOSE = 1e-4  # of the loss, and of each gradient's length


def compare(
    size_name: str, text: bool, rounds: int, root: Path, layout: str, pictures: int, about: dict[str, Any]
) -> dict[str, Any]:
    """The figures of one size."""
    size = SIZES[size_name]
    places = {"model": str(model_folder(root, size)), "pictures": str(pictures_folder(root, size.side, pictures))}
    about = {
        "side": size.side,
        "text": text,
        "layout": layout,
        "rank": 8,
        "batch": 1,
        **places,
    } | about
    with side("side_diffusers.py", about) as theirs, side("side_tehon.py", about) as ours:
        sides = {"ours": ours, "theirs": theirs}
        differ = guard(sides, size.side, about["batch"], root)
        clock: Times = {name: [] for name in sides}
        computed: Times = {name: [] for name in sides}
        for _ in range(rounds):
            for name, one in sides.items():
                taken = one.ask(do="steps", count=size.steps)
                clock[name].append(taken["seconds"][1:])
                computed[name].append(taken["cpu_seconds"][1:])
        peaks = {name: one.ask(do="peak")["bytes"] for name, one in sides.items()}
        operators = {name: one.ask(do="operators")["operators"] for name, one in sides.items()}
        starts = {name: one.start["first_step"] for name, one in sides.items()}
    return {
        "size": size_name,
        "about": {key: about[key] for key in ("side", "text", "layout", "rank", "batch")},
        "settings": about.get("settings", {}),
        "guard": differ,
        "clock": compared(clock),
        "computing": compared(computed),
        "pictures": pictures,
        "first_step_seconds": starts,
        "peak_bytes": peaks,
        "operators": operators,
        "seconds": clock,
        "load": os.getloadavg(),
    }


def compared(seconds: Times) -> dict[str, Any]:
    """Medians, least values, and how many times as fast ours is: by the medians of rounds next to each other, by the
    least values of all."""
    every = {name: sorted(chain.from_iterable(rounds)) for name, rounds in seconds.items()}
    pairs = [median(theirs) / median(ours) for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return {
        "median_seconds": {name: median(values) for name, values in every.items()},
        "least_seconds": {name: values[0] for name, values in every.items()},
        "times_as_fast": median(pairs),
        "times_as_fast_from_to": [min(pairs), max(pairs)],
        "times_as_fast_at_best": every["theirs"][0] / every["ours"][0],
    }


def guard(sides: dict[str, Side], pixels: int, batch: int, root: Path) -> dict[str, float]:
    """How far losses and gradients of the two sides are apart; an AssertionError where it is more than rounding."""
    import torch

    generator = torch.Generator().manual_seed(5)
    shape = (1, 4, pixels // 8, pixels // 8)
    inputs = root / "guard.pt"
    given = {"latents": torch.randn(shape, generator=generator), "noise": torch.randn(shape, generator=generator)}
    torch.save(given | {"times": torch.tensor([400]), "caption": CAPTION}, inputs)
    answers: dict[str, Any] = {}
    for name, one in sides.items():
        one.ask(do="guard", inputs=str(inputs), answer=str(root / f"{name}.pt"))
        answers[name] = torch.load(root / f"{name}.pt")
    ours, theirs = answers["ours"], answers["theirs"]
    assert ours["gradients"].keys() == theirs["gradients"].keys(), sorted(
        ours["gradients"].keys() ^ theirs["gradients"].keys()
    )[:4]
    loss = abs(ours["loss"] / theirs["loss"] - 1)
    worst, total = 0.0, 0.0
    for key, gradient in theirs["gradients"].items():
        length = float(gradient.norm())
        assert length > 0, f"{key} has no gradient, so it would equal anything"
        worst = max(worst, float((ours["gradients"][key] - gradient).norm()) / length)
        total += length**2
    assert loss < CLOSE, loss
    assert worst < CLOSE, worst
    return {"loss": loss, "gradient": worst, "tensors": len(theirs["gradients"]), "gradient_length": total**0.5}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--text", action="store_true", help="train the text encoder too")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of the other side's U-Net")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON laid over tehon's settings")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=20, help="to be encoded before the first step")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where models are kept; without it they are written for the run")
    parser.add_argument("--print", action="store_true", help="print the figures and write nothing")
    parser.add_argument("--table", action="store_true", help="write docs/performance.md from what was measured")
    options = parser.parse_args()
    if options.table:
        write_page(RESULTS)
        return
    about = {"settings": options.settings, "rank": options.rank, "batch": options.batch}
    with tempfile.TemporaryDirectory() as place:
        root: Path = options.folder or Path(place)
        root.mkdir(parents=True, exist_ok=True)
        for size in options.sizes:
            figures = compare(size, options.text, options.rounds, root, options.layout, options.pictures, about)
            brief = {key: value for key, value in figures.items() if key != "seconds"}
            print(json.dumps(brief, indent=1), flush=True)
            if not options.print:
                from networks_demo import circumstances

                RESULTS.mkdir(parents=True, exist_ok=True)
                file = RESULTS / f"{size}{'-text' if options.text else ''}.json"
                file.write_text(json.dumps(figures | circumstances(), indent=2) + "\n", "utf8")


if __name__ == "__main__":
    main()
