"""Losses between a prediction and its target, one number per sample."""

from torch import Tensor


def squared_error(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over channels and pixels of (prediction - target)^2 in float32: (n, c, h, w) to (n,).

    A `mask` (n, 1, h, w) from 0 to 1 is multiplied in before the mean. The mean stays over all pixels, as in
    sd-scripts: a picture of which little counts has a small loss, and moves the weights little.
    """
    error = (prediction.float() - target.float()).square()
    return (error if mask is None else error * mask).mean((1, 2, 3))


def weighed(losses: Tensor, weights: Tensor) -> Tensor:
    """Each sample's loss times its weight, (n,). The mean over samples stays one over their number, so lowering the
    weight of some does not raise that of the others."""
    return losses * weights
