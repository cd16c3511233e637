"""Where everything lies in a run directory. Each file has one writer.

settings.toml, data.json          the trainer, at the start and when a resume changes them
origin.json                       the trainer, at the start, and when a resume changes settings
events.jsonl, metrics.jsonl       the trainer appends
samples.jsonl, previews/          the trainer appends a row for each picture that it puts there
progress.json                     the trainer, about once a second: what it is doing now
weights/ state/                   the trainer writes aside, then renames
lock                              held by the trainer for as long as it lives
logs/                             Weights & Biases, where no other folder is named
grid/                             what `tehon grid` draws of the run
launch.toml, log.txt              of a run that was launched: its settings as they were given, and what it prints
inbox/                            anyone puts a file `stop`, `save` or `preview` here; the trainer obeys and removes it;
                                  `ended` says that somebody ended it at once
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

NAMES = frozenset((
    "settings.toml", "data.json", "origin.json", "events.jsonl", "metrics.jsonl", "samples.jsonl", "previews",
    "progress.json", "weights", "state", "lock", "logs", "grid", "launch.toml", "log.txt", "inbox",
))  # fmt: skip
"""All that is in a run directory."""


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "settings.toml"

    @property
    def origin(self) -> Path:
        return self.path / "origin.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def previews(self) -> Path:
        return self.path / "previews"

    @property
    def data(self) -> Path:
        return self.path / "data.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def launch(self) -> Path:
        return self.path / "launch.toml"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    def state_file(self, step: int) -> Path:
        return self.state / f"step-{step:08d}.pt"

    def make(self) -> None:
        """Creates the directory and its folders."""
        for folder in (self.path, self.weights, self.state, self.inbox):
            folder.mkdir(parents=True, exist_ok=True)


def runs_folder(output: Path) -> Path:
    """Where the runs of an output folder have their directories."""
    return output / "runs"


def new_run_directory(output: Path, name: str) -> RunDirectory:
    """`<output>/runs/<name>-<date>-<time>`, created, with a number behind it where that exists."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    number = 1
    while True:
        run = RunDirectory(runs_folder(output) / (stem if number == 1 else f"{stem}-{number}"))
        try:
            run.path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            run.make()
            return run
