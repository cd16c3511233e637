"""Digests of weights."""

import hashlib


def legacy_hash(data: bytes) -> str:
    """A1111's old hash: 8 digits of the sha256 over the 64 KiB that start at 1 MiB."""
    return hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
