"""Picture folders: children named `N_words` of a parent, N repeats of what the words call; or one plain folder.

>>> [(f.path.name, f.repeats, f.words) for f in find_folders(Path("pictures"))]
[('10_mofu', 10, 'mofu')]
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tehon.data.plan.entries import EXTENSIONS, split_name
from tehon.messages.problem import Problem

_NAME = re.compile(r"(\d+)(?:_(.*))?", re.DOTALL)


@dataclass(frozen=True)
class PictureFolder:
    """A folder with pictures in it that count `repeats` times; `words` caption those that have no caption."""

    path: Path
    repeats: int
    words: str


def plain_folder(path: Path, repeats: int, words: str, field: str = "data.folder") -> PictureFolder:
    """A folder that holds the pictures itself; a Problem when there is none."""
    if not os.path.isdir(path):
        raise Problem("folder_missing", field=field, path=path)
    return PictureFolder(path, repeats, words)


def find_folders(parent: Path, field: str = "data.folder") -> list[PictureFolder]:
    """The picture folders under `parent`, sorted by name; where there are none, a Problem naming the right level."""
    if not os.path.isdir(parent):
        raise Problem("folder_missing", field=field, path=parent)
    found = list(_named(parent, field))
    if found:
        return found
    pictures = has_pictures(parent)
    if pictures and _NAME.fullmatch(parent.name):
        raise Problem("folder_too_deep", field=field, path=parent, parent=parent.parent)
    for child in _folders(parent, field):  # ahead of pictures that happen to lie above the right level
        if any(_named(child, field)):
            raise Problem("folder_too_shallow", field=field, path=parent, child=child)
    if pictures:
        raise Problem("folder_unnamed", field=field, path=parent, name=f"10_{parent.name}")
    raise Problem("folder_empty", field=field, path=parent)


def ignored_children(parent: Path) -> list[Path]:
    """Folders with pictures beside the picture folders that do not count, for lack of a number in their name."""
    taken = {folder.path for folder in _named(parent, "")}
    return [path for path in _folders(parent, "") if path not in taken and has_pictures(path)]


def has_pictures(folder: Path) -> bool:
    """Whether a file with a picture's extension lies in the folder."""
    try:
        with os.scandir(folder) as entries:
            return any(split_name(e.name)[1] in EXTENSIONS and e.is_file() for e in entries)
    except OSError:
        return False


def _named(parent: Path, field: str) -> Iterator[PictureFolder]:
    for path in _folders(parent, field):
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) > 0:
            _check_name(path, field)
            yield PictureFolder(path, int(match[1]), (match[2] or "").strip())


def _check_name(path: Path, field: str) -> None:
    """A Problem for a name that is not Unicode, as archives of other systems leave: captions are made from it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        shown = str(path).encode("utf8", "backslashreplace").decode()
        raise Problem("folder_not_unicode", field=field, path=shown) from None


def _folders(parent: Path, field: str) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir())
    except OSError as error:
        raise Problem("folder_unreadable", field=field, path=parent, reason=error.strerror) from None
