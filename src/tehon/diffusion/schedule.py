"""Noise schedules: how much of the picture is left at each timestep.

`alphas` are the cumulative ones, float32 (timesteps,): a_t, of which sqrt(a_t) scales the picture and sqrt(1 - a_t)
the noise.

>>> scaled_linear(0.00085, 0.012, 1000)[0]
tensor(0.9991)
"""

import torch
from torch import Tensor


def scaled_linear(first: float, last: float, steps: int) -> Tensor:
    """Alphas of Stable Diffusion's schedule: betas whose square roots lie on a line."""
    betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float32) ** 2
    return (1 - betas).cumprod(0)


def signal_to_noise(alphas: Tensor) -> Tensor:
    """SNR(t) = a_t / (1 - a_t), shaped like `alphas`."""
    return alphas / (1 - alphas)
