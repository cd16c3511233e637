"""Writing a run's records, so that a reader never sees half of one."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tehon.runs.read import rows


def write_aside(file: Path, data: bytes) -> None:
    """Writes beside the place, forces it to disk, and renames: the file is there whole or not at all."""
    aside = file.with_name(f"{file.name}.new")
    with aside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Indented JSON, written aside and renamed."""
    write_aside(file, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def append_rows(file: Path, new: Iterable[Mapping[str, Any]]) -> None:
    """One line of JSON for each row, in one write."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new)
    with file.open("a", encoding="utf8") as stream:
        stream.write(text)


def keep_rows(file: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Leaves out the rows that are not wanted, as those of steps that a resumed run takes again."""
    if file.exists():
        kept = [row for row in rows(file) if wanted(row)]
        write_aside(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept).encode())


def event(name: str, **facts: Any) -> dict[str, Any]:
    """A row for events.jsonl."""
    return {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "event": name, **facts}
