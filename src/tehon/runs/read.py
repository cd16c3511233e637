"""Reading a run's records."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory

RECENT = 100  # steps; the loss of a single one jumps with its timesteps


def open_run(path: Path) -> RunDirectory:
    """The run directory at a path; a Problem when there is none."""
    run = RunDirectory(path)
    if not run.settings.is_file():
        raise Problem("run_missing", path=path)
    return run


def state_step(file: Path) -> int:
    """The number of updates done in a state, by the file's name."""
    return int(file.stem.rpartition("-")[2])


def states(run: RunDirectory) -> list[Path]:
    """The saved states, newest first."""
    return sorted((file for file in run.state.glob("step-*.pt") if file.stem[5:].isdigit()), key=state_step)[::-1]


def read_json(file: Path) -> dict[str, Any]:
    """What is in a JSON file of a run; {} when it is not there or damaged."""
    try:
        found = json.loads(file.read_text("utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_rows(file: Path, most: int, size: int = 1 << 17) -> list[dict[str, Any]]:
    """The last rows of a .jsonl file, of those that are whole within its last so many bytes."""
    try:
        with file.open("rb") as stream:
            start = max(0, stream.seek(0, 2) - size)
            stream.seek(start)
            lines = stream.read().decode("utf8", errors="replace").split("\n")
    except OSError:
        return []
    return _parsed((lines[1:] if start else lines)[-most - 1 :])


def recent_rows(metrics: Path) -> list[dict[str, Any]]:
    """The rows of the last steps, as many as the mean loss that is shown of a run is taken over."""
    table = last_rows(metrics, 2 * RECENT)  # among them may be some of the loss on held-out pictures
    return [row for row in table if isinstance(row.get("loss"), int | float)][-RECENT:]


def rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file, but for lines that a process was writing when it died."""
    return _parsed(file.read_text("utf8", errors="replace").split("\n")) if file.exists() else []


def _parsed(lines: Iterable[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found
