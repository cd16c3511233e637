"""Where a run goes on: the state it finds, and whether that still belongs to the settings, the model and the pictures.

>>> start = newest_state(directory, notice)
>>> check_same(start, identity(plan), allowed={"training.epochs"})
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tehon.catalog.optimizers import optimizer_row
from tehon.messages.catalogue import Notice, say
from tehon.messages.problem import Problem
from tehon.planning.identity import MODEL, PICTURES, START, Change, Identity, differences
from tehon.runs.layout import RunDirectory
from tehon.runs.read import open_run, read_json, states
from tehon.training.state import read_state


@dataclass(frozen=True)
class Start:
    """A saved state that was read: its file, its content, and the run that it is of."""

    file: Path
    saved: dict[str, Any]
    run: RunDirectory

    @property
    def step(self) -> int:
        return int(self.saved["step"])

    @property
    def about(self) -> dict[str, Any]:
        return self.saved["about"]


def newest_state(run: RunDirectory, notice: Notice) -> Start | None:
    """The newest state that is as it was written and holds finite numbers; None when the run has saved none yet."""
    broken: Problem | None = None
    for file in states(run):
        try:
            saved = read_state(file)
        except Problem as problem:
            if problem.key != "state_broken":
                raise
            broken = problem
            continue
        if not saved["weights"].isfinite().all():
            broken = Problem("state_spoiled", path=file)
            continue
        if broken is not None:
            damaged, step = broken.values["path"], int(saved["step"])
            if broken.key == "state_spoiled":
                notice(say("notice.spoiled_state", broken=damaged, step=step))
            else:
                notice(say("notice.older_state", broken=damaged, step=step))
        return Start(file, saved, run)
    if broken is not None:
        raise broken
    return None


def state_at(path: Path, notice: Notice) -> Start:
    """What `training.resume` names: a state file, or a run's directory."""
    if path.is_file():
        return Start(path, read_state(path), RunDirectory(path.parent.parent))
    found = newest_state(open_run(path), notice)
    if found is None:
        raise Problem("state_missing", path=path)
    return found


def changes_since(start: Start, now: Identity) -> list[Change]:
    """What is not as it was when the state was saved."""
    pictures: dict[str, str] = read_json(start.run.data).get("pictures", {})
    return differences(start.about.get("identity", {}), now, pictures)


def check_same(start: Start, now: Identity, allowed: Collection[str]) -> list[Change]:
    """The changes since the state was saved; a Problem that lists those which are not allowed, and one where allowing
    doesn't help."""
    _check_optimizer(start, now)
    found = changes_since(start, now)
    known = {*now.settings, MODEL, START, PICTURES}
    for name in allowed:
        if name not in known:
            raise Problem("allowed_unknown", name=name)
    refused = [change for change in found if change.name not in allowed]
    if refused:
        names = " ".join(dict.fromkeys(change.name for change in refused))
        raise Problem("resume_changed", path=start.file, changes="; ".join(map(str, refused)), names=names)
    return found


def _check_optimizer(start: Start, now: Identity) -> None:
    """A Problem when the memory is another optimizer's: some take it without a word, and fail at their first step."""
    name = "optimizer.name"
    before: str = start.about.get("identity", {}).get("settings", {}).get(name, "")
    after: str = now.settings[name]
    if before and optimizer_row(before).path != optimizer_row(after).path:
        raise Problem("state_unfit", path=start.file, reason=f"{name}: {before} → {after}")
