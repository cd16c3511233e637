"""What one reading of a picture does with it: a function of (seed, epoch, picture, repeat) and of nothing else.

>>> look_at(Placement((64, 64), (96, 64)), LookRules(flip=True), stream_of(seed=1, epoch=0, picture=0, repeat=0))
Look(crop=(16, 0), flip=True, shift=None)
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from tehon.data.plan.buckets import Placement, Size
from tehon.data.plan.wording import Streams

_SHIFTED = 0.33
_HUE = 16.0  # degrees; 8 on OpenCV's circle of 180
_GAMMA = 0.05


@dataclass(frozen=True)
class Source:
    """A picture file and everything about it that stays the same in all readings; what the feed needs to read it.

    `digest` is of the file's bytes; `size` (width, height) that of the whole picture as it is seen, None when it isn't
    scaled. `mask` is a grey picture that shows what counts in the loss; `alpha_mask` takes the picture's own
    transparency for it.
    """

    path: Path
    digest: str
    placement: Placement
    interpolation: str = "auto"
    background: str = "white"
    mask: Path | None = None
    alpha_mask: bool = False
    size: Size | None = None


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


@dataclass(frozen=True)
class LookRules:
    """What is left to chance in the readings of one set of pictures."""

    random_crop: bool = False
    flip: bool = False
    colour: bool = False


def stream_of(seed: int, epoch: int, picture: int, repeat: int) -> Streams:
    """The random numbers of one reading, by purpose: turning one augmentation on leaves the others' draws alone."""
    return lambda purpose: Random(f"{purpose} {seed} {epoch} {picture} {repeat}")


def look_at(placement: Placement, rules: LookRules, streams: Streams) -> Look:
    """One reading: the middle or a random piece, half of them mirrored, a third with a shift of colour.

    The amounts are sd-scripts': with p = 0.33 half the time a hue of at most 16 degrees, else a gamma of 0.95 to 1.05.
    """
    crop = placement.crop
    if rules.random_crop:
        draw = streams("crop")
        crop = draw.randint(0, placement.excess[0]), draw.randint(0, placement.excess[1])
    flip = rules.flip and streams("flip").random() < 0.5
    return Look(crop, flip, _shift(streams("colour")) if rules.colour else None)


def _shift(draw: Random) -> Shift | None:
    if draw.random() >= _SHIFTED:
        return None
    if draw.random() < 0.5:
        return Shift(hue=draw.uniform(-_HUE, _HUE))
    return Shift(gamma=draw.uniform(1 - _GAMMA, 1 + _GAMMA))
