"""The forward process: a clean picture to a noisy one."""

from torch import Tensor


def add_noise(clean: Tensor, noise: Tensor, alphas: Tensor, times: Tensor) -> Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e (arXiv 2006.11239, eq. 4).

    clean, noise (n, c, h, w); alphas are the cumulative ones (timesteps,); times int64 (n,).
    """
    level = alphas[times].view(-1, 1, 1, 1)
    return level.sqrt() * clean + (1 - level).sqrt() * noise
