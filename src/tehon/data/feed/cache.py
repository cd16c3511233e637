"""Arrays on disk under the digest of what they were made from: few large files, mapped into memory, never rewritten.

>>> with ArrayCache(folder) as cache:
...     cache.put(key, array)
>>> cache.get(key)
array([...])

Format, version 1. A run that writes makes a pair of files of its own, so runs never wait for each other:
`<random>.shard` holds the arrays' bytes, one behind the other; `<random>.index` holds one record of 48 bytes for each
(`RECORD`), written after the bytes it speaks of are on disk. Readers take all indices they find. A record without its
whole array, as after a crash, is passed over; a wrong checksum is found when the array is first read. A key may have
several records, as when a damaged array was made again: the first sound one counts.
"""

import os
import secrets
import zlib
from contextlib import suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tehon.messages.problem import Problem

Array = NDArray[Any]
KEY_BYTES = 16
RECORD = np.dtype(
    [("key", f"V{KEY_BYTES}"), ("offset", "<u8"), ("kind", "<u2"), ("axes", "<u2"), ("shape", "<u4", 4), ("crc", "<u4")]
)
_KINDS = ("<f4", "|u1")
_SHARD_BYTES = 1 << 30
_FLUSH_BYTES = 32 << 20


class _Place(NamedTuple):
    """Where an array lies: `kind` is its place in `_KINDS`, `crc` the checksum of its shape and bytes."""

    shard: Path
    offset: int
    kind: int
    shape: tuple[int, ...]
    crc: int

    @property
    def end(self) -> int:
        return self.offset + prod(self.shape) * np.dtype(_KINDS[self.kind]).itemsize

    def record(self, key: bytes) -> tuple[Any, ...]:
        return key, self.offset, self.kind, len(self.shape), (*self.shape, *(0,) * (4 - len(self.shape))), self.crc


class ArrayCache:
    """A folder of shards. Safe for several runs at once; one object is for one thread at a time."""

    shared = True

    def __init__(self, folder: Path) -> None:
        """Opens the folder, makes it if need be; a Problem when that can't be done."""
        self.folder = folder
        self._places: dict[bytes, list[_Place]] = {}
        self._maps: dict[Path, Array] = {}
        self._sound: dict[bytes, Array] = {}
        """Those that were read already."""
        self._new: list[bytes] = []
        self._shard: BinaryIO | None = None
        self._written = self._unflushed = 0
        self.refresh()

    def __enter__(self) -> "ArrayCache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: bytes) -> Array | None:
        """The array under a key; None when there is none, or when its bytes have changed on disk."""
        if key not in self._places:
            return None
        if key in self._sound:
            return self._sound[key]
        self.flush()
        places = self._places[key]
        while places:
            place = places[-1]
            data = self._view(place)
            if data is not None and _checksum(place.shape, data) == place.crc:
                found = self._sound[key] = data.view(_KINDS[place.kind]).reshape(place.shape)
                return found
            places.pop()
        del self._places[key]
        return None

    def put(self, key: bytes, array: Array) -> None:
        """Adds an array, float32 or uint8 with up to four axes. It is on disk after `flush`, which also comes by
        itself now and then; a Problem when the disk is full."""
        data = np.ascontiguousarray(array)
        kind = _KINDS.index(data.dtype.newbyteorder("<").str)
        try:
            if self._shard is None:
                self._shard = (self.folder / f"{secrets.token_hex(8)}.shard").open("xb")
            self._shard.write(data.data)
        except OSError as error:
            raise self._unwritable(error) from None
        crc = _checksum(data.shape, data)
        place = _Place(Path(self._shard.name), self._written, kind, data.shape, crc)
        self._places.setdefault(key, []).append(place)
        self._new.append(key)
        self._written += data.nbytes
        self._unflushed += data.nbytes
        if self._unflushed >= _FLUSH_BYTES:
            self.flush()
        if self._written >= _SHARD_BYTES:
            self.close()

    def flush(self) -> None:
        """Brings all that was put to disk: first the arrays, then the records that speak of them."""
        if self._shard is None or not self._new:
            return
        try:
            self._shard.flush()
            os.fsync(self._shard.fileno())
            with Path(self._shard.name).with_suffix(".index").open("ab") as stream:
                stream.write(np.array([self._places[key][-1].record(key) for key in self._new], RECORD).tobytes())
        except OSError as error:
            raise self._unwritable(error) from None
        self._new.clear()
        self._unflushed = 0

    def refresh(self) -> None:
        """Takes in what other processes have put meanwhile."""
        self.flush()
        self._places.clear()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for index in sorted(self.folder.glob("*.index")):
                self._read_index(index)
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Flushes, and ends the shard at hand; the next `put` begins another."""
        self.flush()
        if self._shard is not None:
            with suppress(OSError):
                self._shard.close()
        self._shard, self._written = None, 0

    def _read_index(self, index: Path) -> None:
        data = index.read_bytes()
        shard = index.with_suffix(".shard")
        try:
            size = shard.stat().st_size
        except FileNotFoundError:
            return
        whole = len(data) // RECORD.itemsize * RECORD.itemsize
        records = np.frombuffer(data[:whole], RECORD)
        shapes: list[list[int]] = records["shape"].tolist()
        for (key, offset, kind, axes, _, crc), shape in zip(records.tolist(), shapes, strict=True):
            if kind < len(_KINDS) and axes <= 4:
                place = _Place(shard, offset, kind, tuple(shape[:axes]), crc)
                if place.end <= size:
                    self._places.setdefault(key, []).append(place)

    def _view(self, place: _Place) -> Array | None:
        """The bytes of an array in its shard, mapped; None when they are gone."""
        known = self._maps.get(place.shard)
        try:
            if known is None or place.end > len(known):
                # "c", so that what is written into an array stays in memory: torch takes no others without a warning.
                mapped = np.memmap(place.shard, np.uint8, "c")
                known = self._maps[place.shard] = np.asarray(mapped)  # of which pieces are cut with less ado
        except (OSError, ValueError):
            return None
        return known[place.offset : place.end] if place.end <= len(known) else None

    def _unwritable(self, error: OSError) -> Problem:
        return Problem("cache_unwritable", field="feed.cache_folder", path=self.folder, reason=error.strerror or error)


def _checksum(shape: tuple[int, ...], data: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(data).data, zlib.crc32(repr(shape).encode()))
