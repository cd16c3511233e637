"""Stage three: the U-Net, on cached latents and cached text, with the encoders frozen."""

import copy

import torch

from tehon.demo.recipe.album import scaled, to_tensor
from tehon.demo.recipe.parts import Net, new_schedule, new_unet, tokens
from tehon.demo.recipe.progress import Stage, rate, set_rate
from tehon.demo.scenes import scene

BATCH = 16
SHORT = 32  # captions are shorter than this; only the last part of the steps pays for all 77 places
UNCONDITIONAL = 0.1  # share of samples trained with an empty caption, for classifier-free guidance


@torch.no_grad()
def encode_album(vae: Net, encoder: Net, tokenizer: Net, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled latents (count, 4, 16, 16) and text (count + 1, 77, width), the last text being the empty one; fp16."""
    latents, texts = [], []
    for start in range(0, count, 64):
        scenes = [scene(seed, i) for i in range(start, min(count, start + 64))]
        pictures = scaled(torch.stack([to_tensor(s.draw()) for s in scenes]))
        latents.append((vae.encode(pictures).latent_dist.mean * vae.config.scaling_factor).half())
        texts.append(encoder(tokens(tokenizer, [s.caption for s in scenes])).last_hidden_state.half())
    texts.append(encoder(tokens(tokenizer, [""])).last_hidden_state.half())
    return torch.cat(latents), torch.cat(texts)


def noise_weights(alphas: torch.Tensor) -> torch.Tensor:
    """Weight per timestep of the squared error in the noise, from the cumulative alphas (steps,).

    Min-SNR with gamma 5 (arXiv 2303.09556) where there is little noise, and 1 / sqrt(SNR) where there is much
    (debiased estimation, arXiv 2310.08442): that is where colours are decided.
    """
    snr = alphas / (1 - alphas)
    return snr.clamp_max(5) / snr * snr.rsqrt().clamp_min(1)


def train_unet(stage: Stage, steps: int, latents: torch.Tensor, texts: torch.Tensor) -> Net:
    """The running average of the U-Net's weights."""
    torch.manual_seed(3)
    unet = new_unet()
    average = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    first = stage.load(unet=unet, average=average, optimizer=optimizer)
    alphas = new_schedule().alphas_cumprod
    weights = noise_weights(alphas)
    generator = torch.Generator()
    total = 0.0
    for step in range(first, steps):
        set_rate(optimizer, rate(step, steps, 1e-3, warmup=200))
        generator.manual_seed(step)
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        empty = torch.rand(BATCH, generator=generator) < UNCONDITIONAL
        length = 77 if step > 0.85 * steps else SHORT
        clean, text = latents[chosen].float(), texts[torch.where(empty, len(latents), chosen), :length].float()
        noise = torch.randn(clean.shape, generator=generator)
        times = ((torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) * (1000 / BATCH)).long()
        level = alphas[times].view(-1, 1, 1, 1)
        guess = unet(level.sqrt() * clean + (1 - level).sqrt() * noise, times, text).sample
        loss = ((guess - noise).square().mean((1, 2, 3)) * weights[times]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            keep = min(0.999, (1 + step) / (10 + step))
            for kept, new in zip(average.parameters(), unet.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
        total += loss.item()
        if step % 50 == 49 or step + 1 == steps:
            stage.report(step + 1, loss=total / (step % 50 + 1))
            total = 0.0
        if step % 250 == 249 or step + 1 == steps:
            stage.save(step + 1, unet=unet, average=average, optimizer=optimizer)
    return average.eval()
