"""Runs side by side: settings that differ, curves, and what they drew from the same prompts.

>>> text = as_text(compare([open_run(one), open_run(other)]))
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from PIL import Image
from rich.cells import cell_len

from tehon.messages.catalogue import say
from tehon.reports.curves import Points, chart, smoothed_loss
from tehon.reports.page import heading, page, paragraph, picture_table, table
from tehon.runs.judge import Best, best_measurement, losses
from tehon.runs.layout import RunDirectory
from tehon.runs.read import RECENT, rows
from tehon.settings.fields import fields
from tehon.settings.files import read_toml

_PROMPT = ("prompt", "negative_prompt", "width", "height", "seed", "scale", "sample_steps", "sample_sampler")


@dataclass(frozen=True)
class Seen:
    """What the records say of one run. `loss` is the mean over its last RECENT steps, or all where it has fewer."""

    name: str
    steps: int
    loss: float | None
    best: Best | None
    training: Points
    validation: Points
    rates: Mapping[str, Points]


@dataclass(frozen=True)
class Comparison:
    """`settings` are (name, value in each run) of those that differ; an empty text where a run has none."""

    directories: tuple[RunDirectory, ...]
    runs: tuple[Seen, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]


def compare(directories: Sequence[RunDirectory]) -> Comparison:
    """Reads the records of runs, finished or not."""
    names = _names(directories)
    runs = tuple(_seen(directory, name) for directory, name in zip(directories, names, strict=True))
    flat = [dict(_flat(read_toml(directory.settings))) for directory in directories]
    every = dict.fromkeys(name for settings in flat for name in settings)
    settings = ((name, tuple(_shown(one.get(name, "")) for one in flat)) for name in every)
    return Comparison(tuple(directories), runs, tuple(row for row in settings if len(set(row[1])) > 1))


def _names(directories: Sequence[RunDirectory]) -> list[str]:
    names = [directory.path.resolve().name for directory in directories]
    return names if len(set(names)) == len(names) else [str(directory.path) for directory in directories]


def _seen(directory: RunDirectory, name: str) -> Seen:
    table = [row for row in rows(directory.metrics) if "loss" in row]
    training = [(row["step"], row["loss"]) for row in table]
    recent = [loss for _, loss in training[-RECENT:]]
    groups = dict.fromkeys(group for row in table for group in row["rates"])
    return Seen(
        name=name,
        steps=max((row["step"] for row in table), default=0),
        loss=fmean(recent) if recent else None,
        best=best_measurement(directory),
        training=smoothed_loss(training),
        validation=[(step, loss) for step, _, loss in losses(directory)],
        rates={g: [(row["step"], row["rates"][g]) for row in table if g in row["rates"]] for g in groups},
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_data(found: Comparison) -> dict[str, Any]:
    """What `tehon compare --json` prints: all but the curves."""
    runs = [
        {
            "run": str(directory.path),
            "name": run.name,
            "steps": run.steps,
            "loss": run.loss,
            "best": None if run.best is None else asdict(run.best) | {"lora": run.best.lora and str(run.best.lora)},
        }
        for directory, run in zip(found.directories, found.runs, strict=True)
    ]
    return {"runs": runs, "settings": {name: list(values) for name, values in found.settings}}


def as_text(found: Comparison) -> str:
    """A table for the terminal, in the language to speak."""
    lines = [("", *(run.name for run in found.runs)), *_summary(found), *((n, *v) for n, v in found.settings)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _summary(found: Comparison) -> list[tuple[str, ...]]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    best = [run.best for run in found.runs]
    short = any(run.steps < RECENT for run in found.runs)
    loss = say("compare.loss_of_few", count=RECENT) if short else say("compare.loss", count=RECENT)
    lines = [
        (say("compare.steps"), *(str(run.steps) for run in found.runs)),
        (loss, *(number(run.loss) for run in found.runs)),
    ]
    if any(best):
        lines.append((say("compare.best"), *(number(one and one.loss) for one in best)))
        lines.append((say("compare.best_step"), *(str(one.step) if one else "" for one in best)))
    return lines


def as_page(found: Comparison) -> str:
    """One HTML file with everything in it."""
    names = [run.name for run in found.runs]
    parts = [paragraph(str(directory.path)) for directory in found.directories]
    parts += [heading(say("compare.summary")), table(["", *names], _summary(found))]
    parts.append(heading(say("compare.settings")))
    lines = [(_label(name), *values) for name, values in found.settings]
    parts.append(table(["", *names], lines) if lines else paragraph(say("compare.same_settings")))
    parts.append(heading(say("compare.curves")))
    parts.append(chart(say("compare.training_loss"), {run.name: run.training for run in found.runs}))
    parts.append(chart(say("compare.validation_loss"), {run.name: run.validation for run in found.runs}))
    for group in dict.fromkeys(group for run in found.runs for group in run.rates):
        title = say("compare.rate", group=group)
        parts.append(chart(title, {run.name: run.rates.get(group, []) for run in found.runs}))
    parts += _pictures(found)
    return page(say("compare.title", names=", ".join(names)), parts)


def _label(name: str) -> str:
    """A setting's label before its name, if it is one that there still is."""
    return f"{say(f'label.{name}')} · {name}" if name in {one.name for one in fields()} else name


def _pictures(found: Comparison) -> list[str]:
    """For each prompt the base model's picture and the last of each run."""
    tables = [rows(directory.samples) for directory in found.directories]
    prompts = dict.fromkeys(tuple(row[key] for key in _PROMPT) for table in tables for row in table)
    if not prompts:
        return []
    lines: list[tuple[str, list[Image.Image | None]]] = []
    for prompt in prompts:
        of_prompt = [[row for row in table if tuple(row[key] for key in _PROMPT) == prompt] for table in tables]
        pairs = list(zip(found.directories, of_prompt, strict=True))
        bases = [(directory, row) for directory, own in pairs for row in own if row["tag"] == "base"]
        pictures = [_opened(*bases[0]) if bases else None]
        for directory, own in pairs:
            drawn = [row for row in own if row["tag"] != "base"]
            pictures.append(_opened(directory, drawn[-1]) if drawn else None)
        lines.append((f"{prompt[0]}  ({say('compare.seed', seed=prompt[4])})", pictures))
    head = [say("compare.base"), *(run.name for run in found.runs)]
    return [heading(say("compare.pictures")), picture_table(head, lines)]


def _opened(directory: RunDirectory, row: Mapping[str, Any]) -> Image.Image | None:
    """None where somebody has deleted the picture."""
    try:
        with Image.open(directory.previews / row["file"]) as picture:
            return picture.convert("RGB")
    except OSError:
        return None
