"""Digests of weights."""

import hashlib
from pathlib import Path


def sha256_of(file: Path) -> str:
    """64 hexadecimal digits over the whole file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def legacy_hash(data: bytes) -> str:
    """A1111's old hash: 8 digits of the sha256 over the 64 KiB that start at 1 MiB."""
    return hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
