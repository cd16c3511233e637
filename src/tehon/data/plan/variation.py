"""What one reading of a picture does with it: a function of (seed, epoch, picture, repeat) and of nothing else."""

from dataclasses import dataclass
from pathlib import Path

from tehon.data.plan.buckets import Placement


@dataclass(frozen=True)
class Source:
    """A picture file and everything about it that stays the same in all readings; what the feed needs to read it.

    `digest` is of the file's bytes. `mask` is a grey picture that shows what counts in the loss; `alpha_mask` takes
    the picture's own transparency for it.
    """

    path: Path
    digest: str
    placement: Placement
    interpolation: str = "auto"
    background: str = "white"
    mask: Path | None = None
    alpha_mask: bool = False


@dataclass(frozen=True)
class Shift:
    """A change of colour: the hue in degrees, and the gamma of the brightness (1 leaves it)."""

    hue: float = 0.0
    gamma: float = 1.0


@dataclass(frozen=True)
class Look:
    """How one reading sees a picture. `crop` is (left, top) of the bucket in the scaled picture, before the flip."""

    crop: tuple[int, int]
    flip: bool = False
    shift: Shift | None = None
