"""Starting a run as a process of its own, which goes on when whoever started it ends: as the page and the queue do.

>>> started = launch(text, Path("output"), "mycat")
>>> look(started.run).state
'starting'
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tehon.disk import unwritable, write_whole
from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory, new_run_directory
from tehon.runs.lock import is_held


@dataclass(frozen=True)
class Launched:
    """A run and its process, which whoever started it should wait for when it ends (`process.poll()`)."""

    run: RunDirectory
    process: subprocess.Popen[bytes]


def prepare(settings: str, output: Path, name: str) -> RunDirectory:
    """A new run directory with the settings (TOML) that the run is to have; paths in them are absolute."""
    try:
        run = new_run_directory(output, name)
    except OSError as error:
        reason = error.strerror or error
        raise Problem("file_unwritable", field="output.folder", path=output, reason=reason) from None
    write_whole(run.launch, settings.encode())
    return run


def launch(settings: str, output: Path, name: str, options: Sequence[str] = ()) -> Launched:
    """Begins a new run; `options` are words of the command line, as `--training.device cpu`."""
    return begin(prepare(settings, output, name), options)


def begin(run: RunDirectory, options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Launched:
    """Begins a prepared run, or goes on with one that was begun. Returns when its process holds the run's lock, so that
    it can be seen and asked for something, or has ended; what it prints is in the run's log.txt."""
    words = ["resume", str(run.path)] if run.settings.is_file() else ["train", str(run.launch), "--run", str(run.path)]
    try:
        if not is_held(run.lock):
            run.progress.unlink(missing_ok=True)  # the heartbeat of the process before
        with run.log.open("ab") as log:
            process = detached([*words, *options], log.fileno(), environment)
    except OSError as error:
        raise unwritable(run.log, error) from None
    while process.poll() is None and not is_held(run.lock):
        time.sleep(0.05)
    return Launched(run, process)


def detached(
    words: Sequence[str], output: int, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """The command line as a process without our terminal, so that neither Ctrl-C nor its end reaches it; what it says
    goes to `output`. Its words are a list, so that no shell reads them."""
    own = {**os.environ, **(environment or {}), "PYTHONIOENCODING": "utf8", "PYTHONUNBUFFERED": "1"}
    flags = 0
    if sys.platform == "win32":  # which ignores new sessions; a hidden console, so that child processes open none
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        [sys.executable, "-m", "tehon", *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=own,
        creationflags=flags,
        start_new_session=True,
    )
