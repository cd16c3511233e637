"""Pictures from prompts: the loop that a sampler needs around `Behaviour.predict`, with diffusers' schedulers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tehon.catalog.samplers import SAMPLERS
from tehon.families.family import Behaviour
from tehon.families.schedulers import make_scheduler


@dataclass(frozen=True)
class SampleRequest:
    """What to draw: one picture for each (prompt, seed), all of one size (width, height) in pixels."""

    prompts: list[str]
    seeds: list[int]
    size: tuple[int, int]
    negative: str = ""
    steps: int = 30
    guidance: float = 7.5
    sampler: str = "euler_a"
    clip_skip: int = 1


@torch.no_grad()
def sample(behaviour: Behaviour, parts: Any, request: SampleRequest) -> Tensor:
    """uint8 (n, height, width, 3). Guidance is classifier-free (arXiv 2207.12598): e_neg + s (e_text - e_neg).

    Each picture has a generator of its own, so it is the same alone and in company, and the same as from diffusers'
    pipeline with this seed and scheduler.
    """
    family = behaviour.family
    device = parts.alphas.device
    generators = [torch.Generator().manual_seed(seed) for seed in request.seeds]
    shape = (1, family.latent_channels, request.size[1] // family.stride, request.size[0] // family.stride)
    told = behaviour.encode_prompts(
        parts, [request.negative] * len(request.prompts) + request.prompts, request.clip_skip
    )
    told["frame"] = torch.tensor(
        [[*request.size[::-1], 0, 0, *request.size[::-1]]] * len(told["states"]), device=device
    )
    noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    scheduler = make_scheduler(request.sampler, parts.schedule)
    scheduler.set_timesteps(request.steps)
    extra = {"generator": generators} if SAMPLERS[request.sampler].draws_noise else {}
    latents = noise.to(device, told["states"].dtype) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), time)
        times = time.to(device).expand(len(both))
        without, with_text = behaviour.predict(parts, both, times, told).chunk(2)
        guess = without + request.guidance * (with_text - without)
        latents = scheduler.step(guess, time, latents, return_dict=False, **extra)[0]
    pictures = behaviour.decode(parts, latents).float()
    return ((pictures / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
