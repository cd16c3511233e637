"""Changes to the noise that is added to latents. All tensors are (n, c, h, w) unless said otherwise.

Each function takes its random numbers as arguments, one row per sample, so that a sample's noise depends neither on
its batch nor on the order of calls.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def offset(noise: Tensor, strength: Tensor, shift: Tensor) -> Tensor:
    """Noise offset: e + o * s, with one normal number s per sample and channel, so that brightness is learned too
    (https://www.crosslabs.org/blog/diffusion-with-offset-noise).

    strength broadcasts to (n, c); shift is standard normal (n, c).
    """
    return noise + (strength * shift)[:, :, None, None]


def adaptive_strength(strength: Tensor, scale: float, clean: Tensor) -> Tensor:
    """(n, c): o + k |mean of the latent over height and width|, never below 0."""
    return (strength + scale * clean.mean((2, 3)).abs()).clamp(min=0)


def pyramid(noise: Tensor, levels: Sequence[Tensor], discount: float) -> Tensor:
    """Multi-resolution noise: e + sum of d^i * (level i, scaled up), brought back to the spread 1 per sample
    (https://wandb.ai/johnowhitaker/multires_noise).

    levels are standard normal (n, c, h_i, w_i), as sized by `pyramid_sizes`.
    """
    size = noise.shape[2:]
    for power, level in enumerate(levels):
        noise = noise + discount**power * F.interpolate(level, size, mode="bilinear")
    return noise / noise.std((1, 2, 3), keepdim=True)


def pyramid_sizes(size: tuple[int, int], ratios: Sequence[float]) -> list[tuple[int, int]]:
    """(h_i, w_i) = (h / r_i^i, w / r_i^i), at least 1, for ratios r_i in [2, 4). One with a side of 1 is the last."""
    sizes: list[tuple[int, int]] = []
    for power, ratio in enumerate(ratios):
        height, width = (max(1, int(side / ratio**power)) for side in size)
        sizes.append((height, width))
        if 1 in (height, width):
            break
    return sizes


def perturbed(noise: Tensor, extra: Tensor, gamma: Tensor) -> Tensor:
    """Input perturbation: e + g x for the noisy input, while e alone stays the target (arXiv 2301.11706, eq. 10).

    extra is standard normal, shaped like noise; gamma broadcasts to (n,).
    """
    return noise + gamma.view(-1, 1, 1, 1) * extra
