"""A tool for finished files as a process of the command line, whose `--json` is read: the page itself loads no torch.

>>> ask_tool("inspect", "/home/me/mofu.safetensors").data["ranks"]
{'8': 264}
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tehon.messages.catalogue import say

_PROBLEM = 2  # exit code of the command line for what can be put right in its input
_MOST = 1200  # signs shown of what a tool says


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
    return Answer(data, "") if isinstance(data, dict) else Answer(None, _wrong(done.returncode, done.stderr.strip()))


def _wrong(code: int, printed: str) -> str:
    """What a tool that gave no data has printed, as sentences: its own, or else which error of tehon's stopped it."""
    if code == _PROBLEM and not printed.startswith("usage:"):
        return printed[-_MOST:]
    last = printed.rpartition("\n")[2].strip()
    return say("web.tool_broke", reason=last or f"exit code {code}")
