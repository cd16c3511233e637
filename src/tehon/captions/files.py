"""Caption files: written whole, and taken back one change at a time.

>>> album = CaptionFiles()
>>> album.change({Path("01.txt"): "owl, sitting"})
>>> album.undo()
"""

from collections.abc import Mapping
from pathlib import Path

from tehon.disk import remove, write_whole
from tehon.messages.problem import Problem

_KEPT = 200  # changes that can be taken back


class CaptionFiles:
    """Remembers what was in the files before each change, for as long as it lives."""

    def __init__(self) -> None:
        self.before: list[dict[Path, bytes | None]] = []

    def change(self, texts: Mapping[Path, str]) -> int:
        """Gives files new texts, in one change; how many differ from what was there. A Problem when one cannot be
        written; the ones before it are changed then, and can be taken back."""
        old: dict[Path, bytes | None] = {}
        try:
            for file, text in texts.items():
                content = text_bytes(text)
                was = content_of(file)
                if was != content and not (was is None and not text.strip()):
                    old[file] = was
                    write_whole(file, content)
        finally:
            if old:
                self.before = [*self.before[-_KEPT + 1 :], old]
        return len(old)

    def undo(self) -> list[Path]:
        """Takes the last change back; the files that it was about."""
        if not self.before:
            return []
        old = self.before.pop()
        for file, content in old.items():
            if content is None:
                remove(file)
            else:
                write_whole(file, content)
        return list(old)


def text_bytes(text: str) -> bytes:
    """A caption as its file holds it."""
    return f"{text.strip()}\n".encode()


def content_of(file: Path) -> bytes | None:
    """What is in a file; None where there is none, a Problem where it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
