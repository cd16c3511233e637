"""Changes of caption files that can be taken back by a later command: a small file in the folder remembers them.

>>> change_files(Path("pictures"), {Path("pictures/01.txt"): "owl, sitting"})
>>> undo_last(Path("pictures"))
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tehon.captions.files import change_to, content_of, make, take_back
from tehon.disk import clear_leftovers, remove, write_whole
from tehon.messages.problem import Problem

NAME = ".tehon-captions.json"
_KEPT = 20  # changes that can be taken back

Row = dict[str, tuple[str | None, str]]
"""{file, from the folder: (what was in it, or None; what was put in its place)}."""


def change_files(folder: Path, texts: Mapping[Path, str]) -> int:
    """Gives files below a folder new texts and remembers the old ones, before anything is changed; how many files
    differ. Each file is there whole with its old or its new text, whatever ends the process."""
    change = change_to(texts)
    if change:
        row: Row = {
            str(file.relative_to(folder)): (None if was is None else _text(file, was), new.decode())
            for file, (was, new) in change.items()
        }
        history = [*_history(folder), row]
        _clear(folder, change)
        write_whole(folder / NAME, json.dumps(history[-_KEPT:], ensure_ascii=False).encode())
        make(change)
    return len(change)


def undo_last(folder: Path) -> list[Path]:
    """Takes the last change of a folder back; the files that are as they were. A Problem when there is none, or when
    one of the files was changed by somebody else since."""
    history = _history(folder)
    if not history:
        raise Problem("captions_no_undo", path=folder)
    row = history.pop()
    change = {folder / name: (None if was is None else was.encode(), new.encode()) for name, (was, new) in row.items()}
    _clear(folder, change)
    back = take_back(change)
    if history:
        write_whole(folder / NAME, json.dumps(history, ensure_ascii=False).encode())
    else:
        remove(folder / NAME)
    return back


def _clear(folder: Path, files: Iterable[Path]) -> None:
    """Removes what a change that was killed has left beside the files."""
    for place in {folder, *(file.parent for file in files)}:
        clear_leftovers(place)


def _history(folder: Path) -> list[Row]:
    content = content_of(folder / NAME)
    if content is None:
        return []
    try:
        rows: Any = json.loads(content)
        return [
            {_inside(name): (None if was is None else _utf8(was), _utf8(new)) for name, (was, new) in row.items()}
            for row in rows
        ]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Problem("captions_undo_broken", path=folder / NAME) from None


def _inside(name: str) -> str:
    """A file that the folder holds; somebody may have sent the folder with a list that names others."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or path.suffix == "" or path.name == NAME or "\0" in name:
        raise ValueError(name)
    return _utf8(name)


def _utf8(text: Any) -> str:
    """Half a pair of surrogates, which JSON may hold, is no letter that a file could have."""
    str(text).encode()
    return str(text)


def _text(file: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Problem("caption_not_utf8", path=file) from None
