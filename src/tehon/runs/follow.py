"""Reading a .jsonl file that is being written, again and again, without reading its beginning again.

>>> follower = Follower(run.metrics)
>>> follower.news()
[{'step': 1, 'loss': 0.13, ...}]
"""

import json
from pathlib import Path
from typing import Any


class Follower:
    """Gives each row once. `again` is true after a file has become shorter, as it does when a run is resumed from an
    earlier step: then all rows come anew."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.place = 0
        self.again = False

    def news(self) -> list[dict[str, Any]]:
        """The rows since the last time; a line that is still being written comes when it is whole."""
        self.again = False
        try:
            with self.file.open("rb") as stream:
                size = stream.seek(0, 2)
                if size < self.place:
                    self.place, self.again = 0, True
                stream.seek(self.place)
                found = stream.read()
        except OSError:
            return []
        whole = found[: found.rfind(b"\n") + 1]
        self.place += len(whole)
        return [row for line in whole.splitlines() if (row := _row(line)) is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
