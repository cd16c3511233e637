"""Where runs are: each output folder that was ever trained into is remembered, by one small file of its own.

So nothing has to be locked or rewritten, and a folder that is gone or on a disk that is not there is no trouble: it is
passed over until it is back. What a run is and does is never remembered, but read from its directory.

>>> remember(Path("output"))
>>> find_run("mycat").path
PosixPath('/home/me/output/runs/mycat-20260101-120000')
"""

import os
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from tehon.disk import make_folder, write_whole
from tehon.messages.problem import Problem
from tehon.runs.home import user_data_folder
from tehon.runs.layout import RunDirectory, runs_folder
from tehon.runs.lock import is_held

_STAMPED = re.compile(r"(.+)-(\d{8}-\d{6})(?:-(\d+))?")


def remember(output: Path) -> None:
    """Runs of this output folder are found from now on. A Problem when that can't be written down."""
    path = str(output.absolute())
    file = _folder() / f"{blake2b(path.encode(), digest_size=16).hexdigest()}.txt"
    try:
        if file.read_text("utf8") == path:
            return
    except (OSError, UnicodeDecodeError):
        pass
    make_folder(file.parent)
    write_whole(file, path.encode())


def known_outputs() -> list[Path]:
    """The output folders that are there now."""
    found: list[Path] = []
    for file in sorted(_folder().glob("*.txt")):
        try:
            path = Path(file.read_text("utf8"))
            if path.is_absolute() and runs_folder(path).is_dir():
                found.append(path)
        except (OSError, ValueError):  # a damaged entry costs itself alone
            continue
    return sorted(found)


def is_run(path: Path) -> bool:
    """Whether this is a run's directory, be it of one that was launched and did not get far. An output folder is none,
    also when somebody has copied a run's settings into it."""
    run = RunDirectory(path)
    return (run.settings.is_file() or run.launch.is_file()) and not runs_folder(path).is_dir()


def runs_in(folder: Path) -> list[RunDirectory]:
    """The runs of an output folder, or of its folder `runs`, newest first; a run's own directory is that run."""
    found: list[RunDirectory] = []
    try:
        if is_run(folder):  # which cannot be asked of a name that is too long
            return [RunDirectory(folder)]
        inner = runs_folder(folder)
        places = list(os.scandir(inner if inner.is_dir() else folder))
    except UnicodeEncodeError as error:  # half a character is in no folder's name
        raise Problem("folder_unlistable", path=folder, reason=error.reason) from None
    except OSError as error:
        raise Problem("folder_unlistable", path=folder, reason=error.strerror or error) from None
    for place in places:
        if is_run(Path(place.path)):
            found.append(RunDirectory(Path(place.path)))
    return newest_first(found)


def known_runs() -> list[RunDirectory]:
    """The runs of all known output folders, newest first."""
    return newest_first(_all())


def newest_first(runs: Iterable[RunDirectory]) -> list[RunDirectory]:
    """By the date and time in their names."""
    return sorted(runs, key=_when, reverse=True)


def name_of(run: RunDirectory) -> str:
    """The name of its LoRA: that of the directory without date and time."""
    match = _STAMPED.fullmatch(run.path.name)
    return match[1] if match else run.path.name


def find_run(text: str, at_work: bool = False) -> RunDirectory:
    """The run that somebody means: a path to its directory, the directory's name, or the run's own, and then the newest
    one that has it; with `at_work`, those at work come before those that are not. A Problem when there is none."""
    path = Path(text)
    if is_run(path):
        return RunDirectory(path)
    found = newest_first(run for run in _all() if text in (run.path.name, name_of(run)))
    if not found and (path.exists() or path.name != text):
        raise Problem("run_missing", path=text)
    if not found:
        raise Problem("run_unknown", name=text)
    return next((run for run in found if at_work and is_held(run.lock)), found[0])


def _all() -> Iterator[RunDirectory]:
    for folder in known_outputs():
        try:
            yield from runs_in(folder)
        except Problem:  # it has gone since
            continue


def _when(run: RunDirectory) -> tuple[str, int, str]:
    match = _STAMPED.fullmatch(run.path.name)
    return (match[2], int(match[3] or 1), match[1]) if match else ("", 0, run.path.name)


def _folder() -> Path:
    return user_data_folder() / "outputs"
