"""The loss on pictures that are held out from training.

Noise and timesteps are the same each time, so that the curve shows what changes in the network and nothing else.

>>> validation.loss()
0.1378
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tehon.data.feed.latents import LatentSource
from tehon.data.feed.texts import EncodeText
from tehon.data.feed.views import View, frame
from tehon.diffusion.draws import draw_normal
from tehon.diffusion.losses import squared_error
from tehon.diffusion.noising import add_noise
from tehon.diffusion.objectives import Objective, target
from tehon.families.family import Behaviour

LEVELS = (0.2, 0.4, 0.6, 0.8)
"""The timesteps, as shares of all; sd-scripts takes these too."""


@dataclass(frozen=True)
class Validation:
    """`items` are the pictures with their captions; `encode` gives what captions say."""

    behaviour: Behaviour
    parts: Any
    latents: LatentSource
    encode: EncodeText
    items: Sequence[tuple[View, str]]
    seed: int
    masked: bool
    objective: Objective = "epsilon"

    @torch.no_grad()
    def loss(self) -> float:
        """The mean over pictures and noise levels of the squared error in the noise or velocity."""
        losses = [self._of(number, view, caption) for number, (view, caption) in enumerate(self.items)]
        return float(torch.cat(losses).double().mean())

    def _of(self, number: int, view: View, caption: str) -> torch.Tensor:
        """float32 (levels,)."""
        alphas = self.parts.alphas
        moments = self.latents.read([view])
        shape, device = moments.mean.shape[1:], moments.mean.device
        clean = moments.draw(draw_normal(self.seed, "validation posterior", [(number,)], shape).to(device))
        keys = [(number, level) for level in range(len(LEVELS))]
        noise = draw_normal(self.seed, "validation noise", keys, shape).to(device)
        times = torch.tensor([int(level * len(alphas)) for level in LEVELS], device=device)
        many = len(LEVELS)
        clean = clean.expand(many, *shape)
        noisy = add_noise(clean, noise, alphas, times)
        text = self.encode([caption]) | {"frame": torch.tensor([frame(view)], device=device)}
        told = {name: tensor.expand(many, *tensor.shape[1:]) for name, tensor in text.items()}
        prediction = self.behaviour.predict(self.parts, noisy, times, told)
        mask = moments.mask if self.masked else None
        wanted = target(self.objective, clean, noise, alphas, times)
        return squared_error(prediction, wanted, None if mask is None else mask.expand(many, *mask.shape[1:]))
