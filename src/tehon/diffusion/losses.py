"""Losses between a prediction and its target: element by element, then one number per sample.

prediction and target are (n, c, h, w); everything is computed in float32.
"""

from typing import Literal

import torch
from torch import Tensor

Loss = Literal["l2", "l1", "huber", "smooth_l1"]
Threshold = Literal["constant", "exponential", "snr"]


def squared_error(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over channels and pixels of (prediction - target)^2: (n, c, h, w) to (n,), masked as `per_sample` says."""
    return per_sample(errors("l2", prediction, target), mask)


def weighed(losses: Tensor, weights: Tensor) -> Tensor:
    """Each sample's loss times its weight, (n,). The mean over samples stays one over their number, so lowering the
    weight of some does not raise that of the others."""
    return losses * weights


def errors(kind: Loss, prediction: Tensor, target: Tensor, threshold: Tensor | None = None) -> Tensor:
    """Element-wise loss of d = prediction - target, (n, c, h, w).

    l2 is d^2 and l1 |d|. huber, 2c (sqrt(d^2 + c^2) - c), is d^2 for small d and 2c|d| for large; smooth_l1 is the same
    over c, so that its slope at large d is 2 (pseudo-Huber; arXiv 2403.16728, section 3.2). threshold is c, (n,).
    """
    d = prediction.float() - target.float()
    if kind == "l2":
        return d.square()
    if kind == "l1":
        return d.abs()
    assert threshold is not None, "the Huber losses need their threshold"
    c = threshold.view(-1, 1, 1, 1)
    bent = 2 * d.square() / ((d.square() + c.square()).sqrt() + c)  # 2 (sqrt(d^2 + c^2) - c) without its rounding
    return bent * c if kind == "huber" else bent


def thresholds(kind: Threshold, base: float, scale: float, alphas: Tensor, times: Tensor) -> Tensor:
    """The Huber threshold c at each sample's timestep, (n,): small where the latent is noisy (arXiv 2403.16728).

    constant is c0; exponential falls from 1 to c0 over the timesteps, c0^(t/T); snr is (1 - c0) / (1 + sigma_t)^2 + c0
    with sigma_t = sqrt((1 - a_t) / a_t). Each is multiplied by `scale`.
    """
    if kind == "constant":
        return torch.full(times.shape, base * scale, device=times.device)
    if kind == "exponential":
        return scale * base ** (times.float() / len(alphas))
    level = alphas[times]
    sigma = ((1 - level) / level).sqrt()
    return scale * ((1 - base) / (1 + sigma) ** 2 + base)


def per_sample(element_wise: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over channels and pixels: (n, c, h, w) to (n,).

    A `mask` (n, 1, h, w) from 0 to 1 is multiplied in before the mean. The mean stays over all pixels, as in
    sd-scripts: a picture of which little counts has a small loss, and moves the weights little.
    """
    return (element_wise if mask is None else element_wise * mask).mean((1, 2, 3))
