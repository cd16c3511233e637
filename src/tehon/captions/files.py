"""Caption files: what they say, and changes of them that can be taken back.

>>> change = change_to({Path("01.txt"): "owl, sitting"})
>>> make(change)
>>> take_back(change)
"""

from collections.abc import Mapping
from pathlib import Path

from tehon.disk import remove, write_whole
from tehon.messages.problem import Problem

Change = dict[Path, tuple[bytes | None, bytes]]
"""{file: (what was in it, or None where there was no file; what comes in its place)}."""


def read_text(file: Path) -> str:
    """A caption file's text without blanks around it; a Problem when it is no UTF-8."""
    return read_lines(file).strip()


def read_lines(file: Path) -> str:
    """The same as it is: a first line that is blank is one."""
    try:
        return (content_of(file) or b"").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Problem("caption_not_utf8", path=file) from None


def content_of(file: Path) -> bytes | None:
    """What is in a file; None where there is none, a Problem where it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None


def change_to(texts: Mapping[Path, str]) -> Change:
    """What is to be written for files to have these texts; no file is made for an empty one."""
    change: Change = {}
    for file, text in texts.items():
        was, new = content_of(file), f"{text.strip()}\n".encode()
        if was != new and not (was is None and not text.strip()):
            change[file] = was, new
    return change


def make(change: Change) -> None:
    """Writes each file whole. A Problem when one cannot be written; those before it are changed then."""
    for file, (_, new) in change.items():
        write_whole(file, new)


def take_back(change: Change) -> list[Path]:
    """Puts the files back that the change has reached, and says which. A Problem, and no file is touched, when one of
    them was changed by somebody else since."""
    reached: list[Path] = []
    for file, (was, new) in change.items():
        now = content_of(file)
        if now not in (was, new):
            raise Problem("captions_changed_since", path=file)
        if now != was:
            reached.append(file)
    for file in reached:
        was = change[file][0]
        if was is None:
            remove(file)
        else:
            write_whole(file, was)
    return reached
