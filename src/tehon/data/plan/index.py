"""What is known of picture and caption files from the last time, so that a second plan opens none of them.

One SQLite file in the cache folder. A row counts as long as the file's bytes and times are those of its stamp. The
index is never needed: where it cannot be read or written, `trouble` says so and everything is read anew.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tehon.data.plan.images import Measured
from tehon.data.plan.listing import FileStamp

_VERSION = 1
_TABLES = """
CREATE TABLE pictures (folder TEXT, name TEXT, size INT, mtime INT, ctime INT, width INT, height INT, digest BLOB,
                       alpha INT, animated INT, PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE TABLE captions (folder TEXT, name TEXT, size INT, mtime INT, ctime INT, text TEXT,
                       PRIMARY KEY (folder, name)) WITHOUT ROWID;
"""
SETTLED = 2_000_000_000
"""Nanoseconds that a file must have been left alone to be remembered: on some file systems a second change within two
seconds leaves the same time."""

Known = dict[FileStamp, Measured]
Texts = dict[FileStamp, str]


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
        self._db: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._opened()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def pictures(self, folder: Path) -> Known:
        """What is known of a folder's pictures."""
        rows = self._ask("SELECT name, size, mtime, ctime, width, height, digest, alpha, animated", "pictures", folder)
        return {
            (name, size, mtime, ctime): Measured((width, height), digest, bool(alpha), bool(animated))
            for name, size, mtime, ctime, width, height, digest, alpha, animated in rows
        }

    def captions(self, folder: Path) -> Texts:
        """What is known of a folder's caption files."""
        rows = self._ask("SELECT name, size, mtime, ctime, text", "captions", folder)
        return {(name, size, mtime, ctime): text for name, size, mtime, ctime, text in rows}

    def keep_pictures(self, folder: Path, new: Known, gone: Iterable[FileStamp]) -> None:
        """Remembers new pictures of a folder and forgets others; broken ones are looked at anew each time."""
        rows: list[tuple[Any, ...]] = [
            (str(folder), *stamp, *one.size, one.digest, one.alpha, one.animated)
            for stamp, one in new.items()
            if not one.error
        ]
        self._write("pictures", folder, rows, gone)

    def keep_captions(self, folder: Path, new: Texts, gone: Iterable[FileStamp]) -> None:
        """Remembers new caption files of a folder and forgets others."""
        self._write("captions", folder, [(str(folder), *stamp, text) for stamp, text in new.items()], gone)

    def close(self) -> None:
        """Leaves what was remembered on disk."""
        try:
            if self._db:
                self._db.commit()
                self._db.close()
        except sqlite3.Error as error:
            self._give_up(error)
        self._db = None

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._ready()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # no damage: the file or its folder cannot be used
                raise
            self.file.unlink()
            return self._ready()

    def _ready(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, timeout=5)
        try:
            db.execute("PRAGMA synchronous = OFF")  # a cache need not survive a power cut
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found != _VERSION:
                db.executescript("DROP TABLE IF EXISTS pictures; DROP TABLE IF EXISTS captions;" + _TABLES)
                db.execute(f"PRAGMA user_version = {_VERSION}")
                db.commit()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _ask(self, columns: str, table: str, folder: Path) -> list[tuple[Any, ...]]:
        if not self._db:
            return []
        try:
            return self._db.execute(f"{columns} FROM {table} WHERE folder = ?", (str(folder),)).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            self._give_up(error)
            return []

    def _write(self, table: str, folder: Path, rows: list[tuple[Any, ...]], gone: Iterable[FileStamp]) -> None:
        if not self._db:
            return
        latest = time.time_ns() - SETTLED
        settled = [row for row in rows if max(row[3], row[4]) < latest]
        blanks = ", ".join("?" * len(rows[0])) if rows else ""
        try:
            self._db.executemany(
                f"DELETE FROM {table} WHERE folder = ? AND name = ?", [(str(folder), stamp[0]) for stamp in gone]
            )
            if settled:
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({blanks})", settled)
        except (sqlite3.Error, UnicodeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.trouble = str(error)
        self._db = None
