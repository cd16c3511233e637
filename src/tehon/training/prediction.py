"""Whether a network predicts what it is taken to predict: read off its error on the first pictures of a run.

Most checkpoints don't say it. The wrong answer ends in no error but in a LoRA that has learned nothing, so the network
is asked itself: half way to pure noise, noise and velocity are far apart, and a trained network is near one of them.

>>> predicted(step, 0, batch)
'v'
"""

from typing import Literal

import torch

from tehon.data.feed.views import frame
from tehon.data.plan.epochs import Batch
from tehon.diffusion.draws import draw_normal
from tehon.diffusion.noising import add_noise
from tehon.diffusion.objectives import Objective, target
from tehon.training.step import Step

_PICTURES = 2
_EXPLAINED = 0.5
_CLEARLY = 0.5


@torch.no_grad()
def predicted(step: Step, epoch: int, batch: Batch) -> Objective | None:
    """What the network predicts for a batch's first pictures; None where it cannot be told, as with a network that has
    learned nothing yet.

    The error in one of the two has to be half that in the other, and half of what is to be predicted. (That alone says
    little: for flat pictures the noise is much of the velocity.)
    """
    reads = batch.reads[:_PICTURES]
    views = [step.view_of(epoch, read) for read in reads]
    moments = step.latents.read(views)
    shape, device = moments.mean.shape[1:], moments.mean.device
    alphas = step.parts.alphas
    times = torch.full((len(reads),), len(alphas) // 2, device=device)
    noise = draw_normal(step.seed, "prediction", [(read.picture,) for read in reads], shape).to(device)
    told = step.texts.read([step.caption_of(epoch, read) for read in reads])
    told["frame"] = torch.tensor([frame(view) for view in views], device=device)
    found = step.behaviour.predict(step.parts, add_noise(moments.mean, noise, alphas, times), times, told)
    kinds: tuple[Literal["epsilon"], Literal["v"]] = ("epsilon", "v")
    wanted = {kind: target(kind, moments.mean, noise, alphas, times) for kind in kinds}
    errors = {kind: float((found - tensor).square().mean()) for kind, tensor in wanted.items()}
    best, other = sorted(kinds, key=errors.__getitem__)
    explained = errors[best] < _EXPLAINED * float(wanted[best].square().mean())
    return best if explained and errors[best] < _CLEARLY * errors[other] else None
