"""Picture folders in kohya's layout: a parent with children named `N_words`, N repeats of what the words call.

>>> [(f.path.name, f.repeats, f.words) for f in find_folders(Path("pictures"))]
[('10_mofu', 10, 'mofu')]
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tehon.data.plan.images import picture_files
from tehon.messages.problem import Problem

_NAME = re.compile(r"(\d+)(?:_(.*))?", re.DOTALL)


@dataclass(frozen=True)
class PictureFolder:
    """One child folder: its pictures count `repeats` times, `words` caption those that have no caption of their own."""

    path: Path
    repeats: int
    words: str


def find_folders(parent: Path, field: str = "data.folder") -> list[PictureFolder]:
    """The picture folders under `parent`, sorted by name; where there are none, a Problem naming the right level."""
    if not os.path.isdir(parent):
        raise Problem("folder_missing", field=field, path=parent)
    found = _children(parent)
    if found:
        return found
    if picture_files(parent):
        if _NAME.fullmatch(parent.name):
            raise Problem("folder_too_deep", field=field, path=parent, parent=parent.parent)
        raise Problem("folder_unnamed", field=field, path=parent, name=f"10_{parent.name}")
    for child in sorted(path for path in parent.iterdir() if path.is_dir()):
        if _children(child):
            raise Problem("folder_too_shallow", field=field, path=parent, child=child)
    raise Problem("folder_empty", field=field, path=parent)


def _children(parent: Path) -> list[PictureFolder]:
    found: list[PictureFolder] = []
    for path in sorted(parent.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir() and int(match[1]) > 0:
            found.append(PictureFolder(path, int(match[1]), (match[2] or "").strip()))
    return found


def ignored_children(parent: Path) -> list[Path]:
    """Folders with pictures beside the picture folders that do not count, for lack of a number in their name."""
    taken = {folder.path for folder in _children(parent)}
    rest = [path for path in sorted(parent.iterdir()) if path.is_dir() and path not in taken]
    return [path for path in rest if picture_files(path)]
