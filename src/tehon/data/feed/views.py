"""Readings as plain values, and the work of a loader process: the pieces that several readings see. No torch here.

>>> [piece.pixels.shape for piece in read_views((View(source, look),))]
[(512, 512, 3)]
"""

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from tehon.data.feed.pixels import Piece, read_pieces
from tehon.data.plan.variation import Look, Source

VERSION = 1  # of what `read_pieces` makes of a file; a change makes old cache entries unknown


class View(NamedTuple):
    """One way to see one picture."""

    source: Source
    look: Look


Views = tuple[View, ...]


def read_views(views: Views) -> list[Piece]:
    """The piece of each view; a picture that is seen in several ways is decoded once."""
    looks: dict[Source, list[Look]] = {}
    for source, look in views:
        looks.setdefault(source, []).append(look)
    pieces = {source: iter(read_pieces(source, of_it)) for source, of_it in looks.items()}
    return [next(pieces[source]) for source, _ in views]


def frame(view: View) -> tuple[int, ...]:
    """How large the picture was before it was scaled and which piece of it is seen, as SDXL is told (arXiv 2307.01952,
    section 2.2): height, width, top and left of the piece in the scaled picture as it is seen, height and width of the
    piece."""
    source, look = view
    width, height = source.size or source.placement.resized
    wide, high = source.placement.bucket
    left, top = look.crop
    if look.flip:
        left = source.placement.resized[0] - wide - left
    return height, width, top, left, high, wide


@lru_cache(maxsize=4096)
def pixels_key(view: View, encoder: str) -> bytes:
    """16 bytes that name all that a view's latents depend on: the file's content, what is made of it, the encoder."""
    source, look = view
    made = source.placement, look, source.interpolation, source.background
    return _digest("latent", source.digest, made, encoder)


def mask_key(view: View, mask_digest: str) -> bytes:
    """16 bytes that name all that a view's mask depends on; `mask_digest` of the mask's file or the picture."""
    source, look = view
    made = source.placement, look.crop, look.flip, source.interpolation if source.mask is None else ""
    return _digest("mask", mask_digest, made, "")


def _digest(*facts: object) -> bytes:
    return blake2b(repr((VERSION, *facts)).encode(), digest_size=16).digest()
