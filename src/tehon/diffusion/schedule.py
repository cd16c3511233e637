"""The noise schedule: how much of a picture is left at each timestep."""

import torch
from torch import Tensor


def scaled_linear_alphas(start: float = 0.00085, end: float = 0.012, steps: int = 1000) -> Tensor:
    """Cumulative alphas, float32 (steps,): prod(1 - beta), sqrt(beta) linear (arXiv 2112.10752, its code)."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, 0)


def add_noise(clean: Tensor, noise: Tensor, alphas: Tensor, times: Tensor) -> Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e (arXiv 2006.11239, eq. 4). clean, noise (n, c, h, w); times (n,)."""
    level = alphas[times].view(-1, 1, 1, 1)
    return level.sqrt() * clean + (1 - level).sqrt() * noise
