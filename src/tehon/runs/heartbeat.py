"""What a running trainer is doing now, for whoever looks: written about once a second, read at any time.

>>> heartbeat = Heartbeat(run.progress)
>>> heartbeat.tell("training", step=120, steps=400)
"""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_EVERY = 1.0  # seconds


class Heartbeat:
    """Told of what a run does, with its process number. Nothing depends on it, so a full disk stops nothing. Its age
    is told by `beat`, seconds since the machine was started, which nobody can set."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.facts: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
        self.last = -_EVERY
        self.phase = ""

    def tell(self, phase: str, **facts: Any) -> None:
        """Written at once when the phase is new, else when the last time is long enough ago."""
        now = time.monotonic()
        self.facts |= {"phase": phase, "at": time.time(), "beat": now, **facts}
        if phase == self.phase and now - self.last < _EVERY:
            return
        self.phase, self.last = phase, now
        aside = self.file.with_name(f"{self.file.name}.new")
        with suppress(OSError):
            aside.write_text(json.dumps(self.facts, ensure_ascii=False) + "\n", "utf8")
            aside.replace(self.file)
