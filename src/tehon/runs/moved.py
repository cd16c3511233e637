"""Where a run's LoRAs go after its directory was moved, alone or with its output folder, on this machine or to another.

>>> folder_after_move(open_run(Path("/new/output/runs/mofu-20260101-120000")), "/old/output")
PosixPath('/new/output')
"""

from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from tehon.runs.layout import RunDirectory, runs_folder
from tehon.runs.read import rows


def folder_after_move(run: RunDirectory, folder: str) -> Path | None:
    """The output folder around the run's new place, when the old one was around its old place; None when it lies
    where it was last at work, or when its LoRAs went elsewhere anyway."""
    places = [row["path"] for row in rows(run.events) if row.get("event") == "opened" and "path" in row]
    here = run.path.absolute()
    if not places or _same(places[-1], here):
        return None
    before = _path(places[-1])
    if before.parent not in (_path(folder), _path(folder) / runs_folder(Path()).name):
        return None
    return here.parent.parent if here.parent.name == runs_folder(Path()).name else here.parent


def _same(before: str, here: Path) -> bool:
    try:
        return Path(before).samefile(here)
    except OSError:
        return before == str(here)


def _path(text: str) -> PurePath:
    """As the system wrote it that the run comes from."""
    return PurePosixPath(text) if text.startswith("/") else PureWindowsPath(text)
