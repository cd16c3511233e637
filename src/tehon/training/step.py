"""The loss of a batch: latents, noise, prediction. Holds values and functions, no settings.

>>> step.losses_of(epoch, batch)
tensor([0.1052, 0.0831])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tehon.data.feed.latents import LatentSource
from tehon.data.feed.texts import TextSource
from tehon.data.feed.views import View, frame
from tehon.data.plan.epochs import Batch, Read
from tehon.diffusion.draws import Key, draw_normal
from tehon.diffusion.losses import weighed
from tehon.diffusion.noising import add_noise
from tehon.diffusion.objectives import Objective, target
from tehon.families.family import Behaviour
from tehon.training.objective import Judgement, Noise, Place, Times


@dataclass(frozen=True)
class Step:
    """`view_of(epoch, read)` and `caption_of(epoch, read)` say what a reading sees and is told, `weights[i]` how much
    picture i counts. Without `masked`, masks are left aside. `begin` is called before each batch, with the keys of its
    readings. `objective` is what the network predicts."""

    behaviour: Behaviour
    parts: Any
    latents: LatentSource
    texts: TextSource
    view_of: Callable[[int, Read], View]
    caption_of: Callable[[int, Read], str]
    weights: Sequence[float]
    seed: int
    masked: bool
    begin: Callable[[Sequence[Key]], None]
    noise: Noise
    times: Times
    judgement: Judgement
    objective: Objective = "epsilon"

    def losses_of(self, epoch: int, batch: Batch, place: Place | None = None) -> Tensor:
        """The loss of each sample (reads,): of the error in what is predicted, at a timestep drawn for it. `place` is
        the batch's in its update; without it the batch is all of it."""
        keys = [(epoch, read.picture, read.repeat) for read in batch.reads]
        self.begin(keys)
        views = [self.view_of(epoch, read) for read in batch.reads]
        moments = self.latents.read(views)
        shape, device = moments.mean.shape[1:], moments.mean.device
        clean = moments.draw(draw_normal(self.seed, "posterior", keys, shape).to(device))
        noise = self.noise.draw(self.seed, keys, clean)
        times = self.times.draw(self.seed, keys, place).to(device)
        told = self.texts.read([self.caption_of(epoch, read) for read in batch.reads])
        told["frame"] = torch.tensor([frame(view) for view in views], device=device)
        noisy = add_noise(clean, self.noise.seen(self.seed, keys, noise), self.parts.alphas, times)
        prediction = self.behaviour.predict(self.parts, noisy, times, told)
        wanted = target(self.objective, clean, noise, self.parts.alphas, times)
        mask = moments.mask if self.masked else None
        losses = self.judgement.losses(self.objective, prediction, wanted, self.parts.alphas, times, mask)
        return weighed(losses, torch.tensor([self.weights[read.picture] for read in batch.reads], device=device))
