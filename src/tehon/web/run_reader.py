"""What the page shows of one run, read from its directory: curves, samples, settings, files, the end of its log."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tehon.catalog.families import FAMILIES
from tehon.catalog.header import read_header
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.reports.curves import smoothed_loss
from tehon.runs.follow import Follower
from tehon.runs.layout import RunDirectory
from tehon.runs.read import read_json, rows
from tehon.settings.fields import fields
from tehon.settings.files import leave_open, read_toml
from tehon.settings.optimizer_rules import resolved_name
from tehon.web.pictures import Pictures

_MOST = 1000  # points of a curve; more are not seen
_LOG = 16_384  # bytes of the log that are shown
_ROOTS = sorted({root for family in FAMILIES.values() for root in family.adapter_roots}, key=len, reverse=True)
Points = list[tuple[float, float]]


class Curves:
    """Loss and rates of a run, read on from where the last look ended."""

    def __init__(self, run: RunDirectory) -> None:
        self.follower = Follower(run.metrics)
        self.loss: Points = []
        self.validation: Points = []
        self.rates: dict[str, Points] = {}

    def read(self) -> bool:
        """Takes up what is new; whether there was anything."""
        news = self.follower.news()
        if self.follower.again:
            self.loss, self.validation, self.rates = [], [], {}
        for row in news:
            step = row.get("step", 0)
            if "loss" in row:
                self.loss.append((step, row["loss"]))
                for name, rate in row.get("rates", {}).items():
                    self.rates.setdefault(name, []).append((step, rate))
            if "validation_loss" in row:
                self.validation.append((step, row["validation_loss"]))
        return bool(news)

    def smooth(self) -> Points:
        return smoothed_loss(self.loss)


def group_label(group: str) -> str:
    """What a group of rates is called: `lora_unet x0.5` becomes `U-Net x0.5`."""
    root = next((root for root in _ROOTS if group.startswith(root)), "")
    return say(f"plan.part_{root}") + group.removeprefix(root) if root else group


def thinned(points: Sequence[tuple[float, float]]) -> Points:
    """At most a thousand of the points, evenly, with the last one."""
    every = -(-len(points) // _MOST) if points else 1
    found = list(points[::every])
    if points and found[-1] != points[-1]:
        found.append(points[-1])
    return found


@dataclass(frozen=True)
class Sample:
    """A picture of a run. `tag` is `base` for those without the LoRA."""

    step: int
    tag: str
    prompt: str
    seed: int
    file: Path

    @property
    def made_by(self) -> str:
        """The base model, or the run after so many steps."""
        return say("web.base") if self.tag == "base" else say("web.at_step", step=self.step)


def version(file: Path) -> tuple[int, int]:
    """(time of the last change in ns, bytes), which are others when there is something new; (0, 0) without a file."""
    try:
        facts = file.stat()
    except OSError:
        return 0, 0
    return facts.st_mtime_ns, facts.st_size


def samples(run: RunDirectory) -> list[Sample]:
    """The pictures that are there, by prompt: that of the base model, beside it the newest, then the older ones."""
    found = [
        Sample(row["step"], row["tag"], row["prompt"], row["seed"], run.previews / Path(row["file"]).name)
        for row in rows(run.samples)
        if {"step", "tag", "prompt", "seed", "file"} <= row.keys()
    ]
    order = {prompt: number for number, prompt in enumerate(dict.fromkeys(one.prompt for one in found))}
    return sorted(found, key=lambda one: (order[one.prompt], one.seed, one.tag != "base", -one.step))


def tile(sample: Sample, pictures: Pictures) -> dict[str, Any]:
    """What the gallery shows of a sample."""
    token = pictures.token(sample.file)
    return {
        "id": token,
        "name": sample.file.name,
        "thumb": f"/thumb/{token}",
        "size": sample.made_by,
        "caption": sample.prompt,
        "group": f"{sample.seed} {sample.prompt}",
        "mark": sample.made_by if sample.tag == "base" else "",
    }


def given_settings(run: RunDirectory) -> dict[str, Any]:
    """A run's settings as tables. What it filled is open again, as it may follow from others; the seed stays."""
    tree = read_toml(run.settings if run.settings.is_file() else run.launch)
    leave_open(tree, set(_filled(run)) - {"training.seed"})
    return tree


def changed_settings(run: RunDirectory) -> Iterator[tuple[str, str, str, bool]]:
    """(dotted name, label, value, whether somebody set it to something else than the default), those first."""
    tree = read_toml(run.settings if run.settings.is_file() else run.launch)
    filled = _filled(run)
    silent = {"optimizer.name": resolved_name(""), "feed.vae_batch_size": tree.get("data", {}).get("batch_size", 1)}
    found: list[tuple[str, str, str, bool]] = []
    for field in fields():
        section, _, name = field.name.partition(".")
        if name in tree.get(section, {}):
            value = tree[section][name]
            same = value in (field.default, silent.get(field.name, field.default)) or field.name in filled
            found.append((field.name, field.label, str(value), field.required or not same))
    yield from sorted(found, key=lambda row: not row[3])


def _filled(run: RunDirectory) -> list[str]:
    """The settings that were left open at the start."""
    return read_json(run.origin).get("filled", [])


def files(run: RunDirectory) -> list[tuple[Path, int]]:
    """The LoRAs that the run has saved and their bytes, the newest first. A run at work may take one away meanwhile."""
    found: list[tuple[float, str, Path, int]] = []
    for file in run.weights.glob("*.safetensors"):
        with suppress(FileNotFoundError):
            facts = file.stat()
            found.append((facts.st_mtime, file.name, file, facts.st_size))
    return [(file, size) for *_, file, size in sorted(found, reverse=True)]


def finished_lora(run: RunDirectory, place: Path) -> Path | None:
    """The finished LoRA at the place where it was put, if it is still this run's, or else in the run directory."""
    session = str(read_json(run.origin).get("session"))
    for file in (place, run.weights / place.name):
        with suppress(Problem):
            if read_header(file).metadata.get("ss_session_id", session) == session:
                return file
    return None


def log_end(run: RunDirectory) -> str:
    """The last lines of what the run's process printed."""
    try:
        with run.log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _LOG))
            return stream.read().decode("utf8", "replace")
    except OSError:
        return ""


def events(run: RunDirectory) -> list[dict[str, Any]]:
    return rows(run.events)
