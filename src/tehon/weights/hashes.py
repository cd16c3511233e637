"""Digests of weights."""

import hashlib
from functools import lru_cache
from pathlib import Path


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
        stream.seek(0x100000)
        old = hashlib.sha256(stream.read(0x10000)).hexdigest()[:8]
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(16 << 20):
            digest.update(chunk)
    return old, digest.hexdigest()
