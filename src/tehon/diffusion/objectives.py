"""What the network is asked for: the noise, or the velocity.

clean, noise and prediction are (n, c, h, w); alphas cumulative (timesteps,); times int64 (n,).
"""

from typing import Literal

from torch import Tensor

Objective = Literal["epsilon", "v"]


def target(objective: Objective, clean: Tensor, noise: Tensor, alphas: Tensor, times: Tensor) -> Tensor:
    """The noise e, or v = sqrt(a_t) e - sqrt(1 - a_t) x_0 (arXiv 2202.00512, appendix D)."""
    if objective == "epsilon":
        return noise
    level = alphas[times].view(-1, 1, 1, 1)
    return level.sqrt() * noise - (1 - level).sqrt() * clean
