"""What is known of picture and caption files from the last time, so that a second plan opens none of them.

One SQLite file in the cache folder, with a row for all pictures of a folder and one for all its captions, as reading a
row for each of many files takes longer than all that is done with them. A file counts as known as long as its bytes and
times are those of its stamp. The index is never needed: where it cannot be read or written, `trouble` says so and
everything is read anew, as is a folder whose row is damaged.
"""

import json
import os
import sqlite3
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tehon.data.plan.images import Measured
from tehon.data.plan.listing import FileStamp
from tehon.messages.problem import Problem

_VERSION = 2
_TABLE = "CREATE TABLE folders (folder TEXT, kind TEXT, checksum INT, columns BLOB, PRIMARY KEY (folder, kind))"
SETTLED = 2_000_000_000
"""Nanoseconds that a file must have been left alone to be remembered: on some file systems a second change within two
seconds leaves the same time."""

_Of = TypeVar("_Of")


def user_cache_folder() -> Path:
    """tehon's folder among the user's caches, as the system has it."""
    home = Path.home()
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(base) / "tehon"


class Index:
    """The index in a cache folder. `trouble` is empty, or why it cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "pictures.sqlite"
        self.trouble = ""
        self._held: dict[tuple[Path, str], list[FileStamp]] = {}
        self._db: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._opened()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def pictures(self, folder: Path, stamps: list[FileStamp]) -> list[Measured | None]:
        """What is known of these pictures of a folder, in their order; None of those that are not known."""
        known, (widths, heights, digests, alpha, animated) = self._read(folder, "pictures", 5)
        sizes = zip(widths, heights, strict=True)
        measured = list(map(Measured, sizes, map(bytes.fromhex, digests), alpha, animated))
        return self._matched(folder, "pictures", stamps, known, measured)

    def captions(self, folder: Path, suffix: str, stamps: list[FileStamp]) -> list[str | None]:
        """What these caption files of a folder say, which have one suffix; None of those that are not known."""
        known, (texts,) = self._read(folder, suffix, 1)
        return self._matched(folder, suffix, stamps, known, texts)

    def keep_pictures(self, folder: Path, stamps: list[FileStamp], measured: Sequence[Measured]) -> None:
        """Remembers these pictures of a folder and no others; broken ones are looked at anew each time."""
        rows = (
            (*stamp, *one.size, one.digest.hex(), one.alpha, one.animated)
            for stamp, one in zip(stamps, measured, strict=True)
            if not one.error
        )
        self._write(folder, "pictures", stamps, rows)

    def keep_captions(self, folder: Path, suffix: str, stamps: list[FileStamp], texts: Sequence[str | Problem]) -> None:
        """Remembers these caption files of a folder and no others of the suffix, but for those that can't be read."""
        rows = ((*stamp, text) for stamp, text in zip(stamps, texts, strict=True) if isinstance(text, str))
        self._write(folder, suffix, stamps, rows)

    def close(self) -> None:
        """Lets go of the file."""
        if self._db:
            self._db.close()
        self._db = None

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._ready()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):  # the file or its folder cannot be used
                raise
            self.file.unlink()
            return self._ready()

    def _ready(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, timeout=5, isolation_level=None)  # nobody waits for the rest of our plan
        try:
            db.execute("PRAGMA synchronous = OFF")  # a cache need not survive a power cut
            if _version(db) != _VERSION:
                db.execute("BEGIN EXCLUSIVE")
                if _version(db) != _VERSION:  # else another process was faster
                    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                        db.execute(f"DROP TABLE {table}")
                    db.execute(_TABLE)
                    db.execute(f"PRAGMA user_version = {_VERSION}")
                db.execute("COMMIT")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _read(self, folder: Path, kind: str, count: int) -> tuple[list[FileStamp], list[list[Any]]]:
        """The stamps of the files that are known, and as many columns with what is known of them."""
        row = None
        try:
            if self._db:
                wanted = "SELECT checksum, columns FROM folders WHERE folder = ? AND kind = ?"
                row = self._db.execute(wanted, (str(folder), kind)).fetchone()
        except (sqlite3.Error, UnicodeError) as error:
            self._give_up(error)
        if not row or zlib.crc32(row[1]) != row[0]:
            return [], [[]] * count
        names, sizes, changed, created, *columns = json.loads(row[1]) or [[]] * (4 + count)
        return list(zip(names, sizes, changed, created, strict=True)), columns

    def _matched(
        self, folder: Path, kind: str, stamps: list[FileStamp], known: list[FileStamp], values: list[_Of]
    ) -> list[_Of | None]:
        if known == stamps:  # nothing has changed, and no file needs to be looked up
            self._held[folder, kind] = stamps
            return [*values]
        self._held[folder, kind] = known
        found = dict(zip(known, values, strict=True))
        return [found.get(stamp) for stamp in stamps]

    def _write(self, folder: Path, kind: str, stamps: list[FileStamp], rows: Iterable[tuple[Any, ...]]) -> None:
        """`rows` are what is worth keeping of the files of these stamps, and begin with them."""
        held = self._held.get((folder, kind), [])
        if not self._db or stamps == held:
            return
        latest = time.time_ns() - SETTLED
        settled = [row for row in rows if max(row[2], row[3]) < latest]
        kept: list[FileStamp] = [row[:4] for row in settled]
        if kept == held:
            return
        columns = json.dumps(list(zip(*settled, strict=True)), ensure_ascii=False).encode("utf8", "surrogatepass")
        try:
            values = str(folder), kind, zlib.crc32(columns), columns
            self._db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?)", values)
            self._held[folder, kind] = kept
        except (sqlite3.Error, UnicodeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Goes on without the file; what is damaged is taken away, for the next plan to begin anew."""
        self.trouble = str(error)
        self.close()
        if _is_damage(error):
            with suppress(OSError):
                self.file.unlink()


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _is_damage(error: Exception) -> bool:
    """Whether the file holds nonsense, and is not just locked, full or out of reach."""
    return type(error) is sqlite3.DatabaseError
