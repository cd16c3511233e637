"""What is asked of the network, as values without settings: which noise, which timestep, which loss.

Every random number belongs to a reading, so that neither its batch nor a resume changes it; only `stratified` looks at
the place in the update.

>>> times = Times(200, 800).draw(seed=7, keys=[(0, 3, 0)])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tehon.diffusion import timesteps, weighting
from tehon.diffusion.draws import Key, draw_normal, draw_times, generator_for
from tehon.diffusion.losses import Loss, Threshold, errors, per_sample, thresholds
from tehon.diffusion.noise import adaptive_strength, offset, perturbed, pyramid, pyramid_sizes
from tehon.diffusion.objectives import Objective
from tehon.diffusion.schedule import signal_to_noise
from tehon.machine.transfer import to_device

Slot = tuple[int, int]
"""Of a batch in its update: the number of its first reading, out of how many."""


@dataclass(frozen=True)
class Noise:
    """`offset` with `adaptive`, `levels` of coarser noise that weaken by `discount`, `perturbation` of the input."""

    offset: float = 0.0
    offset_random: bool = False
    adaptive: float = 0.0
    levels: int = 0
    discount: float = 0.3
    perturbation: float = 0.0
    perturbation_random: bool = False

    def draw(self, seed: int, keys: Sequence[Key], clean: Tensor) -> Tensor:
        """The noise that the network is asked for, (n, c, h, w) like `clean`."""
        device = clean.device
        noise = to_device(draw_normal(seed, "noise", keys, clean.shape[1:]), device)
        if self.offset:
            strength = to_device(_strengths(self.offset, self.offset_random, seed, "offset strength", keys), device)
            strength = (
                adaptive_strength(strength[:, None], self.adaptive, clean) if self.adaptive else strength[:, None]
            )
            noise = offset(noise, strength, to_device(draw_normal(seed, "offset", keys, clean.shape[1:2]), device))
        if self.levels:
            rows = [self._coarser(seed, key, noise[i : i + 1]) for i, key in enumerate(keys)]
            noise = torch.cat(rows)
        return noise

    def seen(self, seed: int, keys: Sequence[Key], noise: Tensor) -> Tensor:
        """The noise that is in what the network sees."""
        if not self.perturbation:
            return noise
        gamma = _strengths(self.perturbation, self.perturbation_random, seed, "perturbation strength", keys)
        other = draw_normal(seed, "perturbation", keys, noise.shape[1:])
        return perturbed(noise, to_device(other, noise.device), to_device(gamma, noise.device))

    def _coarser(self, seed: int, key: Key, noise: Tensor) -> Tensor:
        """One sample, (1, c, h, w)."""
        generator = generator_for(seed, "pyramid", key)
        ratios = (2 + 2 * torch.rand(self.levels, generator=generator)).tolist()
        sizes = pyramid_sizes((noise.shape[2], noise.shape[3]), ratios)
        levels = [torch.randn(1, noise.shape[1], *size, generator=generator) for size in sizes]
        return pyramid(noise, [to_device(level, noise.device) for level in levels], self.discount)


@dataclass(frozen=True)
class Times:
    """Timesteps from `low` to below `high`."""

    low: int = 0
    high: int = 1000
    sampling: Literal["uniform", "logit_normal"] = "uniform"
    mean: float = 0.0
    spread: float = 1.0
    stratified: bool = False

    def draw(self, seed: int, keys: Sequence[Key], place: Slot | None = None) -> Tensor:
        """int64 (keys,). Without a place, these readings are the whole update."""
        if self.sampling == "uniform" and not self.stratified:
            return self.low + draw_times(seed, keys, self.high - self.low)
        u = timesteps.draw_uniform(seed, "timestep", keys)
        if self.stratified:
            u = timesteps.stratified(u, *(place or (0, len(keys))))
        if self.sampling == "uniform":
            return timesteps.uniform(u, self.low, self.high)
        return timesteps.logit_normal(u, self.low, self.high, self.mean, self.spread)


@dataclass(frozen=True)
class Judgement:
    """The loss for an error, and its weights by the ratio of signal to noise; 0 leaves a weight out. `v_like` is for
    networks that predict the noise, `v_scaled` for those that predict v."""

    kind: Loss = "l2"
    threshold: Threshold = "snr"
    base: float = 0.1
    scale: float = 1.0
    min_snr: float = 0.0
    debiased: bool = False
    v_like: float = 0.0
    v_scaled: bool = False

    def losses(
        self,
        objective: Objective,
        prediction: Tensor,
        target: Tensor,
        alphas: Tensor,
        times: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """One loss for each sample, float32 (n,), with sd-scripts' order of weights."""
        bent = self.kind in ("huber", "smooth_l1")
        c = thresholds(self.threshold, self.base, self.scale, alphas, times) if bent else None
        losses = per_sample(errors(self.kind, prediction, target, c), mask)
        snr = signal_to_noise(alphas[times])
        if self.min_snr:
            losses = losses * weighting.min_snr(snr, self.min_snr, objective)
        if self.v_scaled:
            losses = losses * weighting.like_noise(snr)
        if self.v_like:
            losses = losses * weighting.with_v_like(snr, self.v_like)
        if self.debiased:
            losses = losses * weighting.debiased(snr, objective)
        return losses


def _strengths(most: float, random: bool, seed: int, purpose: str, keys: Sequence[Key]) -> Tensor:
    """float32 (keys,): the same for all, or a share of it drawn for each reading."""
    same = torch.full((len(keys),), most)
    return same * timesteps.draw_uniform(seed, purpose, keys) if random else same
