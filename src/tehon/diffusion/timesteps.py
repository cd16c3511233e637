"""Which timestep each reading is trained at, from one uniform number per reading.

Every distribution is a function of a uniform number u in [0, 1), float32 (n,), and of a range [low, high) of timesteps.
The result is int64 (n,).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tehon.diffusion.draws import Key, generator_for


def draw_uniform(seed: int, purpose: str, keys: Sequence[Key]) -> Tensor:
    """Uniform numbers in [0, 1), float32 (keys,), each from its own key."""
    return torch.cat([torch.rand(1, generator=generator_for(seed, purpose, key)) for key in keys])


def stratified(u: Tensor, first: int, n: int) -> Tensor:
    """The i-th of n numbers moved into the i-th of n equal strata, so that an update covers all noise levels. The given
    numbers are those from the `first` on.

    Each number is still uniform over the updates, as the order of pictures is random.
    """
    return (u + first + torch.arange(len(u), dtype=u.dtype, device=u.device)) / n


def uniform(u: Tensor, low: int, high: int) -> Tensor:
    """Every timestep of the range is as likely."""
    return _spread(u, low, high)


def logit_normal(u: Tensor, low: int, high: int, mean: float = 0.0, spread: float = 1.0) -> Tensor:
    """Timesteps around the middle more often: sigmoid(N(mean, spread^2)) of the range (arXiv 2403.03206, eq. 19)."""
    normal = torch.special.ndtri(u.double().clamp(1e-9, 1 - 1e-9))
    return _spread((mean + spread * normal).sigmoid(), low, high)


def _spread(share: Tensor, low: int, high: int) -> Tensor:
    return (low + (share.double() * (high - low)).long()).clamp(low, high - 1)
