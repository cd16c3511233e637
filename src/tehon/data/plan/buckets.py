"""Which size each picture is trained at. The numbers are those of sd-scripts' BucketManager, which ends with an error
where a picture is smaller than a step.

Sizes are (width, height) in pixels.

>>> rule = BucketRule(resolution=(512, 512), steps=64, shortest=256, longest=1024, upscale=False)
>>> rule.place((1536, 1024))
Placement(bucket=(576, 384), resized=(576, 384))
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from tehon.messages.problem import Problem

_LATENT = 8  # pixels that are one place of the latents
Size = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """A picture is scaled to `resized`, then its middle is cut out at the size `bucket`."""

    bucket: Size
    resized: Size

    @property
    def excess(self) -> tuple[int, int]:
        """How many columns and rows of the scaled picture are cut away."""
        return self.resized[0] - self.bucket[0], self.resized[1] - self.bucket[1]

    @property
    def crop(self) -> tuple[int, int]:
        """(left, top) of the middle, in the scaled picture."""
        return self.excess[0] // 2, self.excess[1] // 2

    def ratio_error(self, size: Size) -> float:
        """How far the bucket's ratio of width to height is from that of the whole picture, which has this size."""
        return abs(self.bucket[0] / self.bucket[1] - size[0] / size[1])

    @property
    def lost(self) -> float:
        """The share of the scaled picture's area that is cut away."""
        return 1 - (self.bucket[0] * self.bucket[1]) / (self.resized[0] * self.resized[1])


@dataclass(frozen=True)
class BucketRule:
    """How buckets are made. Without `upscale` they come from the pictures' own sizes and have no side limits."""

    resolution: Size
    steps: int
    shortest: int
    longest: int
    upscale: bool
    enabled: bool = True

    def check(self) -> None:
        """A Problem when no picture at all could be placed."""
        if self.enabled and self.upscale:
            _ = self.predefined

    def place(self, size: Size) -> Placement:
        """The bucket for a picture of this size."""
        if not self.enabled:
            return Placement(self.resolution, _cover(size, self.resolution))
        if self.upscale:
            bucket = self._nearest(size)
            return Placement(bucket, _cover(size, bucket))
        return self._own_size(size)

    @cached_property
    def predefined(self) -> list[Size]:
        """All buckets there can be with `upscale`, sorted."""
        area, step = self.resolution[0] * self.resolution[1], self.steps
        low, high = self.shortest // step * step, -(-self.longest // step) * step
        if min(self.resolution) < low or max(self.resolution) > high:
            raise Problem("resolution_outside_buckets", field="data.resolution", low=low, high=high)
        square = int(sqrt(area)) // step * step
        found = {(square, square)}
        for width in range(max(low, step), high + 1, step):
            height = min(high, area // width // step * step)
            if height >= max(low, step):
                found |= {(width, height), (height, width)}
        return sorted(found)

    def _nearest(self, size: Size) -> Size:
        if size in self.predefined:
            return size
        ratio = size[0] / size[1]
        return min(self.predefined, key=lambda bucket: abs(bucket[0] / bucket[1] - ratio))

    def _own_size(self, size: Size) -> Placement:
        """Shrinks to the area of the resolution when larger, then lowers both sides to multiples of the step, or of 8
        where a side is shorter than that."""
        width, height = size
        area, step = self.resolution[0] * self.resolution[1], self.steps
        resized = size
        if width * height > area:
            ratio = width / height
            ideal = sqrt(area * ratio)
            first, second = _grid(ideal, step), _grid(area / ideal, step)
            by_width = first and _grid(first / ratio, step)
            by_height = second and _grid(second * ratio, step)
            off_first = abs(first / by_width - ratio) if by_width else float("inf")
            off_second = abs(by_height / second - ratio) if by_height else float("inf")
            by_first = off_first < off_second or not second
            resized = (first, _round(first / ratio)) if by_first else (_round(second * ratio), second)
        bucket = _lowered(resized[0], step), _lowered(resized[1], step)
        if 0 in bucket:
            raise Problem("picture_too_small", path="picture", width=width, height=height, least=_LATENT)
        return Placement(bucket, resized)


def _cover(size: Size, bucket: Size) -> Size:
    """The picture's size when it is scaled so that it just covers the bucket."""
    wider = size[0] / size[1] > bucket[0] / bucket[1]
    scale = bucket[1] / size[1] if wider else bucket[0] / size[0]
    return _round(size[0] * scale), _round(size[1] * scale)


def _round(value: float) -> int:
    return int(value + 0.5)


def _grid(value: float, step: int) -> int:
    return _round(value) // step * step


def _lowered(side: int, step: int) -> int:
    return side // step * step or side // _LATENT * _LATENT
