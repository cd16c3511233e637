"""The loss of a batch: latents, noise, prediction. Holds values and functions, no settings.

>>> step.losses_of(epoch, batch)
tensor([0.1052, 0.0831])
"""

from collections.abc import Callable, Mapping, Sequence
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
from tehon.machine.transfer import to_device
from tehon.training.objective import Judgement, Noise, Slot, Times

Given = dict[str, Tensor]
"""What a batch's losses follow from, on the device: `clean` latents and `noise`, and `seen`, the noise in what the
network sees where that is another; `times` and `weights` (reads,); a `mask` where there is one; and beside these,
as `told ...`, what the texts say (`TextSource.given`) and the frame."""
_TOLD = "told "


@dataclass(frozen=True, kw_only=True)
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

    def losses_of(self, epoch: int, batch: Batch, place: Slot | None = None) -> Tensor:
        """The loss of each sample (reads,): of the error in what is predicted, at a timestep drawn for it. `place` is
        the batch's in its update; without it the batch is all of it."""
        return self.losses(self.given(epoch, batch, place))

    def given(self, epoch: int, batch: Batch, place: Slot | None = None) -> Given:
        """Whatever of a batch is read or drawn, which nothing that learns has a part in."""
        keys = [(epoch, read.picture, read.repeat) for read in batch.reads]
        self.begin(keys)
        views = [self.view_of(epoch, read) for read in batch.reads]
        moments = self.latents.read(views)
        shape, device = moments.mean.shape[1:], moments.mean.device
        clean = moments.draw(to_device(draw_normal(self.seed, "posterior", keys, shape), device))
        noise = self.noise.draw(self.seed, keys, clean)
        seen = self.noise.seen(self.seed, keys, noise)
        found = {"clean": clean, "noise": noise} | ({} if seen is noise else {"seen": seen})
        found["times"] = to_device(self.times.draw(self.seed, keys, place), device)
        found["weights"] = to_device(torch.tensor([self.weights[read.picture] for read in batch.reads]), device)
        if self.masked and moments.mask is not None:
            found["mask"] = moments.mask
        told = self.texts.given([self.caption_of(epoch, read) for read in batch.reads])
        told["frame"] = to_device(torch.tensor([frame(view) for view in views]), device)
        return found | {f"{_TOLD}{name}": tensor for name, tensor in told.items()}

    def losses(self, given: Mapping[str, Tensor]) -> Tensor:
        """The loss of each sample (reads,). It asks nothing of the processor, so that it can be a CUDA graph."""
        told = {name.removeprefix(_TOLD): tensor for name, tensor in given.items() if name.startswith(_TOLD)}
        clean, noise, times, alphas = given["clean"], given["noise"], given["times"], self.parts.alphas
        noisy = add_noise(clean, given.get("seen", noise), alphas, times)
        prediction = self.behaviour.predict(self.parts, noisy, times, self.texts.states(told))
        wanted = target(self.objective, clean, noise, alphas, times)
        losses = self.judgement.losses(self.objective, prediction, wanted, alphas, times, given.get("mask"))
        return weighed(losses, given["weights"])
