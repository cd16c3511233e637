"""Losses between a prediction and its target, one number per sample."""

from torch import Tensor


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over channels and pixels of (prediction - target)^2 in float32: (n, c, h, w) to (n,)."""
    return (prediction.float() - target.float()).square().mean((1, 2, 3))
