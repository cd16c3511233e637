"""Reading a run's records."""

import json
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory


def open_run(path: Path) -> RunDirectory:
    """The run directory at a path; a Problem when there is none."""
    run = RunDirectory(path)
    if not run.settings.is_file():
        raise Problem("run_missing", path=path)
    return run


def latest_state(run: RunDirectory) -> Path:
    """The newest saved state; a Problem when the run has none."""
    states = sorted(run.state.glob("step-*.pt"))
    if not states:
        raise Problem("state_missing", path=run.path)
    return states[-1]


def rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; a last line that is only half there is left out."""
    if not file.exists():
        return []
    found: list[dict[str, Any]] = []
    for line in file.read_text("utf8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
