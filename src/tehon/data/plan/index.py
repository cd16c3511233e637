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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tehon.data.plan.listing import Stamps
from tehon.data.plan.measurements import Measurements
from tehon.messages.problem import Problem

_VERSION = 3
_TABLE = """CREATE TABLE folders (
    folder TEXT, kind TEXT, checksum INT, stamps BLOB, columns BLOB, PRIMARY KEY (folder, kind)
)"""
SETTLED = 2_000_000_000
"""Nanoseconds that a file must have been left alone to be remembered: on some file systems a second change within two
seconds leaves the same time."""


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
        self._held: dict[tuple[Path, str], bytes] = {}
        self._db: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._opened()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def pictures(self, folder: Path, stamps: Stamps) -> tuple[Measurements, list[int]]:
        """What is known of these pictures of a folder, and the numbers of those of which nothing is."""
        places, columns = self._look_up(folder, "pictures", stamps)
        known = Measurements.unpacked(columns).select(places)
        return known, [number for number, digest in enumerate(known.digests) if not digest]

    def captions(self, folder: Path, suffix: str, stamps: Stamps) -> list[str | None]:
        """What these caption files of a folder say, which have one suffix; None of those that are not known."""
        places, columns = self._look_up(folder, suffix, stamps)
        texts: list[str | None] = [*json.loads(columns or "[]"), None]
        return [texts[place] for place in places]

    def size_of_captions(self, folders: Iterable[Path]) -> int:
        """Bytes of the stamps of all captions that are known of these folders: 25 for each and its name."""
        wanted = "SELECT total(length(stamps)) FROM folders WHERE folder = ? AND kind != 'pictures'"
        try:
            if self._db:
                return sum(int(self._db.execute(wanted, (str(folder),)).fetchone()[0]) for folder in folders)
        except (sqlite3.Error, UnicodeError) as error:
            self._give_up(error)
        return 0

    def keep_pictures(self, folder: Path, stamps: Stamps, measured: Measurements) -> None:
        """Remembers these pictures of a folder and no others; broken ones are looked at anew each time."""
        if self._holds(folder, "pictures", stamps):
            return
        sound = [number for number in range(len(stamps)) if number not in measured.errors]
        self._write(folder, "pictures", stamps, sound, lambda kept: measured.select(kept).packed())

    def keep_captions(self, folder: Path, suffix: str, stamps: Stamps, texts: Sequence[str | Problem]) -> None:
        """Remembers these caption files of a folder and no others of the suffix, but for those that can't be read."""
        if self._holds(folder, suffix, stamps):
            return

        def packed(kept: list[int]) -> bytes:
            columns = [texts[number] for number in kept]
            return json.dumps(columns, ensure_ascii=False).encode("utf8", "surrogatepass")

        sound = [number for number, text in enumerate(texts) if isinstance(text, str)]
        self._write(folder, suffix, stamps, sound, packed)

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

    def _look_up(self, folder: Path, kind: str, stamps: Stamps) -> tuple[Sequence[int], bytes]:
        """(the place of each file in the columns, -1 where it is not known; the columns)."""
        known, columns = self._read(folder, kind)
        self._held[folder, kind] = known
        if known == stamps.packed():  # nothing has changed, and no file needs to be looked up
            return range(len(stamps)), columns
        places = {stamp: place for place, stamp in enumerate(Stamps.unpacked(known))}
        return [places.get(stamp, -1) for stamp in stamps], columns

    def _read(self, folder: Path, kind: str) -> tuple[bytes, bytes]:
        """The stamps of the files that are known, packed, and what is known of them; both empty for nothing."""
        row = None
        try:
            if self._db:
                wanted = "SELECT checksum, stamps, columns FROM folders WHERE folder = ? AND kind = ?"
                row = self._db.execute(wanted, (str(folder), kind)).fetchone()
        except (sqlite3.Error, UnicodeError) as error:
            self._give_up(error)
        if not row or _checksum(row[1], row[2]) != row[0]:
            return b"", b""
        return row[1], row[2]

    def _holds(self, folder: Path, kind: str, stamps: Stamps) -> bool:
        """Whether just these files are remembered."""
        return self._held.get((folder, kind)) == stamps.packed()

    def _write(
        self, folder: Path, kind: str, stamps: Stamps, sound: list[int], packed: Callable[[list[int]], bytes]
    ) -> None:
        """`sound` are the numbers of the files that are worth keeping, `packed` makes columns of some of them."""
        latest = time.time_ns() - SETTLED
        settled = [number for number in sound if max(stamps.changed[number], stamps.created[number]) < latest]
        kept = stamps.select(settled).packed()
        if not self._db or kept == self._held.get((folder, kind), b""):
            return
        columns = packed(settled)
        try:
            values = str(folder), kind, _checksum(kept, columns), kept, columns
            self._db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?, ?)", values)
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


def _checksum(stamps: bytes, columns: bytes) -> int:
    return zlib.crc32(columns, zlib.crc32(stamps))


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _is_damage(error: Exception) -> bool:
    """Whether the file holds nonsense, and is not just locked, full or out of reach."""
    return type(error) is sqlite3.DatabaseError
