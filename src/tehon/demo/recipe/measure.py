"""How well the small model follows its prompts: the share of prompts whose colour and shape the judge finds."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from tehon.demo.judge import agreement
from tehon.demo.prompts import control_prompts
from tehon.demo.recipe.parts import Net, tokens
from tehon.demo.scenes import scene
from tehon.demo.sheet import album

GUIDANCE = 5.0
STEPS = 20


@torch.no_grad()
def draw(folder: Path, prompts: list[str], seed: int) -> torch.Tensor:
    """uint8 (prompts, 128, 128, 3), by diffusers' parts alone."""
    vae: Net = AutoencoderKL.from_pretrained(folder / "vae").float()
    unet: Net = UNet2DConditionModel.from_pretrained(folder / "unet").float()
    encoder: Net = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    tokenizer: Net = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scheduler: Any = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(STEPS)
    text = encoder(tokens(tokenizer, [""] * len(prompts) + prompts)).last_hidden_state
    latents = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    for time in scheduler.timesteps:
        without, within = unet(torch.cat([latents, latents]), time, text).sample.chunk(2)
        latents = scheduler.step(without + GUIDANCE * (within - without), time, latents).prev_sample
    pictures = vae.decode(latents / vae.config.scaling_factor).sample
    return ((pictures / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def measure(folder: Path, out: Path, count: int = 128) -> dict[str, float]:
    """Writes `figure.json` and `samples.png` to `out`: the shares, and pictures of scenes the model never saw."""
    prompts, wanted = control_prompts(count, seed=77)
    found = agreement(draw(folder, prompts, 5).numpy(), wanted)
    figure = {"prompts": float(count), **found._asdict()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "figure.json").write_text(json.dumps(figure, indent=2) + "\n", "utf8")
    captions = [scene(99, number).caption for number in range(24)]
    pictures = [Image.fromarray(picture) for picture in draw(folder, captions, 6).numpy()]
    album(pictures, captions, columns=6).save(out / "samples.png", optimize=True)
    return figure
