"""Where everything lies in a run directory. Each file has one writer.

settings.toml, origin.json        written once, at the start
events.jsonl, metrics.jsonl       the trainer appends
samples.jsonl, previews/          the trainer appends a row for each picture that it puts there
weights/ state/                   the trainer writes aside, then renames
inbox/                            anyone puts an empty file `stop` or `preview` here; the trainer obeys and removes it
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


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
    def weights(self) -> Path:
        return self.path / "weights"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    def make(self) -> None:
        """Creates the directory and its folders."""
        for folder in (self.path, self.weights, self.state, self.inbox):
            folder.mkdir(parents=True, exist_ok=True)


def new_run_directory(output: Path, name: str) -> RunDirectory:
    """`<output>/runs/<name>-<date>-<time>`, with a number behind it where that exists."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path = output / "runs" / stem
    number = 2
    while path.exists():
        path = output / "runs" / f"{stem}-{number}"
        number += 1
    return RunDirectory(path)
