"""A tool for finished files as a process of the command line, whose `--json` is read: the page itself loads no torch.

>>> ask_tool("inspect", "/home/me/mofu.safetensors").data["ranks"]
{'8': 264}
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a tool prints as data, or None and what it says is wrong."""

    data: dict[str, Any] | None
    said: str


def ask_tool(*words: str) -> Answer:
    """Runs `tehon WORDS --json` to its end. The words are a list, so that no shell reads them."""
    flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    done = subprocess.run(
        [sys.executable, "-m", "tehon", *words, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf8",
        errors="replace",
        creationflags=flags,
        check=False,
    )
    try:
        data = json.loads(done.stdout) if done.returncode == 0 else None
    except ValueError:
        data = None
    if isinstance(data, dict):
        return Answer(data, "")
    return Answer(None, done.stderr.strip()[-1200:] or f"exit code {done.returncode}")
