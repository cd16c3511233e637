"""How much the loss of a sample counts, by the noise level at its timestep.

`snr` is a_t / (1 - a_t) of each sample, float32 (n,); every function gives factors (n,) for the mean squared error of
the network's own prediction. Where the schedule ends in pure noise, SNR = 0, the factors for the noise are infinite:
there is no picture left to tell it from, and such a schedule goes with v.
"""

from torch import Tensor

from tehon.diffusion.objectives import Objective

_MOST = 1000.0  # a cleaner latent than this counts as this clean


def min_snr(snr: Tensor, gamma: float, objective: Objective) -> Tensor:
    """min(SNR, g) / SNR, or min(SNR, g) / (SNR + 1) for v (arXiv 2303.09556, section 3.4)."""
    if objective == "v":
        return snr.clamp(max=gamma) / (snr + 1)
    return (gamma / snr).clamp(max=1)


def debiased(snr: Tensor, objective: Objective) -> Tensor:
    """1 / sqrt(SNR), or 1 / (SNR + 1) for v, with the SNR held at 1000 (arXiv 2310.08442, eq. 9)."""
    snr = snr.clamp(max=_MOST)
    return 1 / (snr + 1) if objective == "v" else snr.rsqrt()


def like_noise(snr: Tensor) -> Tensor:
    """SNR / (SNR + 1): what turns an error in v into the error in the noise that it stands for."""
    snr = snr.clamp(max=_MOST)
    return snr / (snr + 1)


def with_v_like(snr: Tensor, share: float) -> Tensor:
    """1 + k (SNR + 1) / SNR: the loss in the noise plus k times what it would be in v."""
    return 1 + share / like_noise(snr)
