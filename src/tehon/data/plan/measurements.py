"""What one look at picture files tells of them: of one as an object, of many as columns. No picture is opened here.

>>> measurements = Measurements.unpacked(packed)
>>> measurements[0].size, len(measurements.digests)
((128, 128), 3)
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

DIGEST = 16
"""Bytes of a picture's digest."""
_NUMBER = array("I").itemsize


class Measured(NamedTuple):
    """What one look at a file tells. `size` is (width, height) as it is seen; `digest` is of the bytes; `error` says
    why nothing else is known."""

    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    alpha: bool = False
    animated: bool = False
    error: str = ""


@dataclass(frozen=True)
class Measurements:
    """What is known of many pictures, column by column: a `Measured` of each, with flags of 0 and 1. `errors` are the
    reasons by the numbers of the broken ones."""

    sizes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    digests: list[bytes] = field(default_factory=list[bytes])
    alpha: bytearray = field(default_factory=bytearray)
    animated: bytearray = field(default_factory=bytearray)
    errors: dict[int, str] = field(default_factory=dict[int, str])

    def __getitem__(self, number: int) -> Measured:
        size, digest, error = self.sizes[number], self.digests[number], self.errors.get(number, "")
        return Measured(size, digest, bool(self.alpha[number]), bool(self.animated[number]), error)

    def __setitem__(self, number: int, one: Measured) -> None:
        """Measures anew a picture that is in the columns."""
        self.sizes[number], self.digests[number] = one.size, one.digest
        self.alpha[number], self.animated[number] = one.alpha, one.animated
        if one.error:
            self.errors[number] = one.error

    def select(self, numbers: Sequence[int]) -> "Measurements":
        """Sound pictures of these numbers; for the number -1 a picture of which nothing is known."""
        if numbers == range(len(self.sizes)):
            return self
        sizes, digests = [*self.sizes, (0, 0)], [*self.digests, b""]
        alpha, animated = self.alpha + b"\0", self.animated + b"\0"
        return Measurements(
            [sizes[number] for number in numbers],
            [digests[number] for number in numbers],
            bytearray([alpha[number] for number in numbers]),
            bytearray([animated[number] for number in numbers]),
        )

    def packed(self) -> bytes:
        """Sound pictures as bytes: a table of their sizes, of which there are few, and a place in it for each."""
        table = {size: place for place, size in enumerate(dict.fromkeys(self.sizes))}
        numbers = len(table), *chain.from_iterable(table), *map(table.__getitem__, self.sizes)
        return b"".join((array("I", numbers), *self.digests, self.alpha, self.animated))

    @staticmethod
    def unpacked(packed: bytes) -> "Measurements":
        """What was packed. Equal sizes are one object."""
        (different,) = array("I", packed[:_NUMBER]) or (0,)
        table = array("I", packed[_NUMBER : _NUMBER * (1 + 2 * different)])
        sizes = list(zip(table[::2], table[1::2], strict=True))
        rest = packed[_NUMBER * (1 + 2 * different) :]
        count = len(rest) // (_NUMBER + DIGEST + 2)
        places, rest = array("I", rest[: _NUMBER * count]), rest[_NUMBER * count :]
        return Measurements(
            [sizes[place] for place in places],
            [rest[start : start + DIGEST] for start in range(0, count * DIGEST, DIGEST)],
            bytearray(rest[DIGEST * count :][:count]),
            bytearray(rest[DIGEST * count + count :]),
        )
