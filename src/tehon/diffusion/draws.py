"""Random numbers as a function of (seed, what for, epoch, picture, repeat) and of nothing else.

They are drawn on the CPU, one reading of a picture at a time, so that neither batch, device, number of workers nor a
resume changes them.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

Key = tuple[int, ...]


def generator_for(seed: int, purpose: str, key: Key = ()) -> torch.Generator:
    """A CPU generator of its own for one purpose and key."""
    digest = blake2b(f"{seed} {purpose} {key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def numbers_for(seed: int, purpose: str, keys: Sequence[Key]) -> Tensor:
    """A number for each key, int64 (keys,), for whoever draws on the device from it."""
    return torch.tensor([generator_for(seed, purpose, key).initial_seed() for key in keys])


def draw_normal(seed: int, purpose: str, keys: Sequence[Key], shape: Sequence[int]) -> Tensor:
    """Standard normal float32 (keys, *shape), each row from its own key."""
    return torch.stack([torch.randn(tuple(shape), generator=generator_for(seed, purpose, key)) for key in keys])


def draw_times(seed: int, keys: Sequence[Key], steps: int = 1000) -> Tensor:
    """Timesteps, uniform integers in [0, steps), int64 (keys,)."""
    rows = [torch.randint(steps, (1,), generator=generator_for(seed, "timestep", key)) for key in keys]
    return torch.cat(rows)
