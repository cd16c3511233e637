"""Stage one: the VAE, on crops of 64 pixels and at the end on whole pictures.

Colour has a loss of its own: without it a VAE of this size learns brightness first and colour very late.
"""

import torch
import torch.nn.functional as F

from tehon.demo.recipe.album import album, scaled
from tehon.demo.recipe.parts import Net, new_vae
from tehon.demo.recipe.progress import Stage, rate, set_rate

BATCH = 8
CROP = 64


def edges(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences to the neighbour below and to the right."""
    return pictures[..., 1:, :] - pictures[..., :-1, :], pictures[..., 1:] - pictures[..., :-1]


def chroma(pictures: torch.Tensor) -> torch.Tensor:
    """Red against green and blue against both: (n, 3, h, w) to (n, 2, h, w). Brightness drops out."""
    red, green, blue = pictures.unbind(1)
    return torch.stack([red - green, blue - (red + green) / 2], 1)


def loss_of(vae: Net, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The training loss, and the mean absolute error that the log shows."""
    posterior = vae.encode(pictures).latent_dist
    drawn = vae.decode(posterior.sample()).sample
    absolute = F.l1_loss(drawn, pictures)
    gradient = sum((F.l1_loss(a, b) for a, b in zip(edges(drawn), edges(pictures), strict=True)), torch.zeros(()))
    squared = F.mse_loss(drawn, pictures)
    colour = F.l1_loss(chroma(drawn), chroma(pictures))
    return absolute + squared + colour + gradient + 1e-6 * posterior.kl().mean(), absolute.detach()


def train_vae(stage: Stage, steps: int) -> Net:
    """The trained VAE, its scaling factor set to one over the standard deviation of its latents."""
    torch.manual_seed(1)
    vae = new_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    first = stage.load(vae=vae, optimizer=optimizer)
    pictures = album(1, 3000, scribbles=2000)
    generator = torch.Generator()
    for step in range(first, steps):
        generator.manual_seed(step)
        set_rate(optimizer, rate(step, steps, 1.5e-3))
        whole = step > 0.9 * steps
        chosen = pictures[torch.randint(len(pictures), (BATCH // 2 if whole else BATCH,), generator=generator)]
        if not whole:
            top, left = torch.randint(pictures.shape[-1] - CROP + 1, (2,), generator=generator).tolist()
            chosen = chosen[..., top : top + CROP, left : left + CROP]
        torch.manual_seed(step)
        loss, error = loss_of(vae, scaled(chosen))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or step + 1 == steps:
            stage.report(step + 1, loss=loss.item(), l1=error.item())
        if step % 500 == 499 or step + 1 == steps:
            stage.save(step + 1, vae=vae, optimizer=optimizer)
    vae.requires_grad_(False).eval()
    with torch.no_grad():
        deviation = vae.encode(scaled(pictures[:200])).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=round(1 / deviation, 5))
    return vae
