"""Digests of weights."""

import hashlib
from functools import lru_cache
from pathlib import Path

_CHUNK = 16 << 20


def legacy_hash(data: bytes) -> str:
    """A1111's old hash: 8 digits of the sha256 over the 64 KiB that start at 1 MiB."""
    return hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]


def file_hashes(file: Path) -> tuple[str, str]:
    """(A1111's old hash, sha256) of a file, by which kohya's metadata name a base model. Some seconds for a large file,
    and nothing when the same file is asked for again."""
    facts = file.stat()
    return _file_hashes(file, facts.st_size, facts.st_mtime_ns)


@lru_cache
def _file_hashes(file: Path, _size: int, _changed: int) -> tuple[str, str]:
    with file.open("rb") as stream:
        old = legacy_hash(stream.read(0x110000))
    return old, body_hash(file, 0)


def body_hash(file: Path, start: int) -> str:
    """The sha256 of a file from a place on."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(start)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
