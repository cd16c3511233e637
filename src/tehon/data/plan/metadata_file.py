"""Captions from a file for many pictures, as sd-scripts' tools write it.

JSON: {path: {"caption": ..., "tags": ...}}; JSONL: one {"image_path": path, "caption": ..., "tags": ...} a line. Paths
may be absolute or count from the picture folder or from the file's own folder, with or without extension.
"""

import json
import os
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem


class MetadataFile:
    """The captions of one file. `unused()` are its entries that no picture asked for."""

    def __init__(self, file: Path, separator: str) -> None:
        """Reads the file; a Problem when it is not of that form."""
        self.file = file
        self._separator = separator
        self._rows = dict(_rows(file))
        self._used: set[str] = set()

    def caption(self, picture: Path, folder: Path) -> str | None:
        """The picture's caption, its tags behind it (behind each line of several); None when the file has none."""
        for path in (str(picture), os.path.splitext(picture)[0]):
            for base in ("", folder, self.file.parent):
                try:
                    key = _plain(os.path.relpath(path, base) if base else path)
                except ValueError:  # another drive of Windows
                    continue
                if key in self._rows:
                    self._used.add(key)
                    return self._joined(self._rows[key])
        return None

    def unused(self) -> list[str]:
        return [key for key in self._rows if key not in self._used]

    def _joined(self, row: dict[str, Any]) -> str | None:
        tags = row.get("tags")
        tags = f"{self._separator} ".join(map(str, tags)) if isinstance(tags, list) else tags
        tags = f"{self._separator} ".join(line.strip() for line in str(tags or "").splitlines() if line.strip())
        lines = [line.strip() for line in str(row.get("caption") or "").splitlines() if line.strip()]
        return "\n".join(f"{self._separator} ".join(filter(None, (line, tags))) for line in lines or [""]) or None


def _plain(path: str) -> str:
    return os.path.normpath(path.replace("\\", "/")).replace("\\", "/")


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise Problem("file_missing", path=file) from None
    except UnicodeDecodeError:
        raise Problem("caption_not_utf8", path=file) from None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    try:
        if file.suffix.lower() == ".jsonl":
            lines = [json.loads(line) for line in text.splitlines() if line.strip()]
            return [(_plain(row["image_path"]), row) for row in lines]
        return [(_plain(path), dict(row)) for path, row in json.loads(text).items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Problem("metadata_broken", path=file, reason=error) from None
