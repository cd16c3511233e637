"""Trains the demo's character with each of several optimizers and measures what was learned; one JSON a run.

`python benchmarks/optimizers_demo.py AdamW Lion` trains those two; without a name, all. `--table` prints the table of
docs/optimizers.md from the results, `--picture` draws docs/optimizers.svg from the losses in them. Every run has the
demo's recipe with the same steps, pictures and seeds; only what stands in OPTIMIZERS differs.
"""

import argparse
import json
import tempfile
from html import escape
from pathlib import Path
from typing import Any

from networks_demo import circumstances, kept, scored

from tehon.cli.demo import Artist
from tehon.demo.judge import concept_score
from tehon.demo.lesson import SETTINGS
from tehon.demo.mofu import write_data_set
from tehon.demo.prompts import concept_prompts
from tehon.demo.scenes import write_known_scenes
from tehon.planning.plan import make_plan
from tehon.reports.curves import COLOURS, Points, chart, smoothed
from tehon.runs.read import rows
from tehon.settings.files import validate
from tehon.training.run import start_run

RESULTS = Path(__file__).parent / "results" / "optimizers"
PICTURE = Path(__file__).parents[1] / "docs" / "optimizers.svg"
SEEDS = 32
SMOOTHED = 20  # steps
FOUND = {"learning_rate": 1.0, "text_encoder_lr": 1.0}  # a factor on the rate that the optimizer finds
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {},
    "AdamW8bit": {},
    "Adafactor": {"arguments": "relative_step=False scale_parameter=False"},
    "Prodigy": FOUND | {"arguments": "safeguard_warmup=True"},
    "Lion": {"learning_rate": 8e-4, "text_encoder_lr": 4e-4},
    "DAdaptAdam": FOUND | {"arguments": "d0=1e-4 growth_rate=1.05"},
}
"""What differs from the demo's settings of the section `optimizer`."""


def train(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The trained file and how it came about."""
    tree: dict[str, Any] = {section: dict(values) for section, values in SETTINGS.items()}
    tree["optimizer"] |= {"name": name} | OPTIMIZERS[name]
    tree["data"]["folder"] = str(folder / "pictures")
    tree["output"] |= {"folder": str(folder), "name": name, "overwrite": True}
    outcome = start_run(make_plan(validate(tree)), lambda event, facts: None)
    assert outcome.lora is not None
    losses = [row["loss"] for row in rows(outcome.run.metrics) if "loss" in row]
    return outcome.lora, {
        "settings": tree["optimizer"],
        "steps": outcome.steps,
        "losses": [round(loss, 5) for loss in losses],
    }


def results() -> dict[str, dict[str, Any]]:
    """What there is, in the order of OPTIMIZERS."""
    files = {name: RESULTS / f"{name}.json" for name in OPTIMIZERS}
    return {name: json.loads(file.read_text("utf8")) for name, file in files.items() if file.exists()}


def table() -> str:
    """Markdown from the results."""
    lines = ["| optimizer | settings | score | kept |", "|---|---|---|---|"]
    for row in results().values():
        own = {key: value for key, value in row["settings"].items() if key != "name"}
        settings = ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in own.items())
        concept = row["concept"]
        score = f"{concept['adapted_mean']:.2f} ({concept['z']:.0f} standard errors)"
        cells = [row["settings"]["name"], settings, score, f"{row['control']['both']:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(lines: dict[str, Points]) -> str:
    """The curves as an SVG of its own, with its key below."""
    inner = chart("loss", lines)
    inner = inner[inner.index("<svg ") : inner.index("</svg>")] + "</svg>"
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 300" font-family="sans-serif" font-size="12">',
        "<style>svg{--line:#ddd}text{fill:#555}</style>",
        '<rect width="900" height="300" fill="#fff"/>',
        inner.replace("<svg ", '<svg width="900" height="260" ', 1),
    ]
    for number, name in enumerate(lines):
        left = 62 + number * 118
        parts.append(f'<rect x="{left}" y="278" width="12" height="4" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(f'<text x="{left + 16}" y="284">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def curves() -> dict[str, Points]:
    return {
        name: smoothed(list(enumerate(row["losses"], 1)), SMOOTHED)[SMOOTHED - 1 :] for name, row in results().items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(OPTIMIZERS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "optimizers-demo")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture", action="store_true")
    options = parser.parse_args()
    if options.table or options.picture:
        if options.picture:
            PICTURE.write_text(picture(curves()), "utf8")
        print(table())
        return
    folder: Path = options.folder
    if not (folder / "pictures").exists():
        write_data_set(folder / "pictures")
        write_known_scenes(folder / "pictures")
    base = None
    options.results.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        file, figures = train(name, folder)
        artist = Artist(file)
        if base is None:
            base = concept_score(artist.draw(concept_prompts(SEEDS), list(range(100, 100 + SEEDS)), 0.0))
        figures["concept"] = scored(artist, base, SEEDS)
        figures["control"] = kept(artist, SEEDS)
        file = options.results / f"{name}.json"
        file.write_text(json.dumps(figures | circumstances()) + "\n", "utf8")
        print(name, figures["losses"][-1], figures["concept"], figures["control"], flush=True)


if __name__ == "__main__":
    main()
