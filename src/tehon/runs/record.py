"""Writing a run's records, so that a reader never sees half of one."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tehon.disk import append, write_whole
from tehon.runs.read import rows


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Indented JSON, there whole or not at all."""
    write_whole(file, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def append_rows(file: Path, new: Iterable[Mapping[str, Any]], durable: bool = False) -> None:
    """One line of JSON for each row, in one write; with `durable` they are on the disk when this returns."""
    append(file, _lines(new), durable)


def keep_rows(file: Path, wanted: Callable[[dict[str, Any]], bool] = lambda row: True) -> None:
    """Leaves out the rows that are not wanted, as those of steps that a resumed run takes again, and a line that a
    process was writing when it died."""
    if file.exists():
        write_whole(file, _lines(row for row in rows(file) if wanted(row)).encode())


def event(name: str, **facts: Any) -> dict[str, Any]:
    """A row for events.jsonl."""
    return {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "event": name, **facts}


def _lines(new: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new)
