"""Random numbers of adapters, as a function of (sample or step, layer, purpose, place) and of nothing else.

They come from a counter and a mixing function rather than from a generator: the same numbers on every device, for every
batch a sample is in, and again when gradient checkpointing computes a forward twice. There is no state to save.

>>> moment = Moment()
>>> chance = Chance(moment, "lora_unet_mid_block_attentions_0_proj_in")
>>> moment.begin(step=7, samples=torch.tensor([11, 12]))
>>> chance.uniform("dropout", rows=2, count=3).shape
torch.Size([2, 3])
"""

from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Moment:
    """What is being computed now: shared by all adapters of a run, set once for each batch.

    `step` is a number for the update, `samples` int64 (n,) one number for each sample. Outside of training both are
    None, and nothing is drawn. `share` is that of a DyLoRA's ranks which the update uses.
    """

    def __init__(self) -> None:
        self.step: int | None = None
        self.samples: Tensor | None = None
        self.share = 1.0

    def begin(self, step: int, samples: Tensor, *, share: float = 1.0) -> None:
        self.step = step
        self.samples = samples
        self.share = share

    def end(self) -> None:
        self.step = self.samples = None

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Nothing is drawn inside the block, and the same as before after it."""
        step, samples = self.step, self.samples
        self.end()
        try:
            yield
        finally:
            self.step, self.samples = step, samples


class Chance:
    """The random numbers of one layer."""

    def __init__(self, moment: Moment, layer: str) -> None:
        self.moment = moment
        self.layer = layer

    @property
    def drawing(self) -> bool:
        return self.moment.samples is not None

    def uniform(self, purpose: str, rows: int, count: int) -> Tensor:
        """Float32 (rows, count) in [0, 1), from the samples' numbers. Rows are the samples, in order, or several
        successive rows for each."""
        samples = self.moment.samples
        assert samples is not None, "nothing is drawn outside of training"
        each, rest = divmod(rows, len(samples))
        assert rest == 0, "every sample has as many rows as the others"
        keys = samples ^ _signed(_key(self.layer, purpose))
        inner = torch.arange(each, device=keys.device) * _signed(_FIRST)
        keys = _mixed((keys[:, None] + inner).flatten())
        places = torch.arange(1, count + 1, device=keys.device) * _signed(_GOLDEN)
        return ((_mixed(keys[:, None] + places) >> 40) & 0xFFFFFF).float() / 2**24

    def shared(self, purpose: str, count: int, device: torch.device) -> Tensor:
        """Float32 (count,) in [0, 1), from the step's number: the same for all samples of an update."""
        assert self.moment.step is not None, "nothing is drawn outside of training"
        key = _signed(_mixed_one(self.moment.step ^ _key(self.layer, purpose)))
        places = torch.arange(1, count + 1, device=device) * _signed(_GOLDEN)
        return ((_mixed(places + key) >> 40) & 0xFFFFFF).float() / 2**24


def _key(layer: str, purpose: str) -> int:
    return int.from_bytes(blake2b(f"{layer} {purpose}".encode(), digest_size=8).digest(), "little")


def _signed(number: int) -> int:
    """The int64 with the bits of an unsigned number; sums and products of int64 wrap around as those of uint64."""
    return number - 2**64 if number >> 63 else number


def _mixed(z: Tensor) -> Tensor:
    """splitmix64's output function (Steele, Lea, Flood 2014) on int64; shifts are made to bring in zeros."""
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _signed(_FIRST)
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _signed(_SECOND)
    return z ^ ((z >> 31) & (2**33 - 1))


def _mixed_one(z: int) -> int:
    z = (z + _GOLDEN) & _MASK
    z = ((z ^ z >> 30) * _FIRST) & _MASK
    z = ((z ^ z >> 27) * _SECOND) & _MASK
    return z ^ z >> 31
