"""Stage two: the text encoder gets a head start by learning to tell a scene's attributes from its caption.

A U-Net this small learns shapes long before it listens to an untrained text encoder. Here linear heads read each
attribute from one of the end-of-text places (any of them: in CLIP's causal encoder all of them have seen the whole
caption), so that afterwards the U-Net's cross-attention finds the attributes lying ready.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from tehon.demo.recipe.parts import TEXT_WIDTH, Net, new_text_encoder, tokens, train_tokenizer
from tehon.demo.recipe.progress import Stage, rate, set_rate
from tehon.demo.scenes import BACKGROUNDS, COLOURS, COUNTS, POSITIONS, SHAPES, SIZES, TEXTURES, Scene, scene

BATCH = 64
SHORT = 32  # captions are shorter than this; only the last tenth of the steps pays for all 77 places

ATTRIBUTES: dict[str, list[str]] = {
    "shape": list(SHAPES),
    "colour": list(COLOURS),
    "count": list(COUNTS),
    "size": [size for size in SIZES if size],
    "position": list(POSITIONS),
    "background": list(BACKGROUNDS),
    "texture": list(TEXTURES),
    "second shape": list(SHAPES),
    "second colour": list(COLOURS),
}


def make_tokenizer(folder: Path) -> Net:
    return train_tokenizer([scene(3, i).caption for i in range(20000)], folder)


def targets(scenes: list[Scene]) -> torch.Tensor:
    """Class numbers (scenes, attributes); 0 is "not named"."""
    rows = [
        [values.index(s.named[name]) + 1 if name in s.named else 0 for name, values in ATTRIBUTES.items()]
        for s in scenes
    ]
    return torch.tensor(rows)


def train_text_encoder(stage: Stage, steps: int, tokenizer: Net) -> Net:
    torch.manual_seed(2)
    encoder = new_text_encoder()
    sizes = [len(values) + 1 for values in ATTRIBUTES.values()]
    heads = torch.nn.Linear(TEXT_WIDTH, sum(sizes))
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    first = stage.load(encoder=encoder, heads=heads, optimizer=optimizer)
    generator = torch.Generator()
    for step in range(first, steps):
        set_rate(optimizer, rate(step, steps, 1e-3))
        scenes = [scene(4, step * BATCH + i) for i in range(BATCH)]
        length = 77 if step > 0.9 * steps else SHORT
        ids = tokens(tokenizer, [s.caption for s in scenes])
        end = ids.argmax(-1).clamp_max(length - 1)
        ids = ids[:, :length]
        generator.manual_seed(step)
        place = end + (torch.rand(BATCH, generator=generator) * (length - end)).long()
        hidden = encoder(ids).last_hidden_state[torch.arange(BATCH), place]
        scores, wanted = heads(hidden).split(sizes, -1), targets(scenes)
        losses = [F.cross_entropy(s, w) for s, w in zip(scores, wanted.unbind(1), strict=True)]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 49 or step + 1 == steps:
            right = torch.stack([s.argmax(-1) == w for s, w in zip(scores, wanted.unbind(1), strict=True)])
            stage.report(step + 1, loss=loss.item(), right=right.float().mean().item())
        if step % 500 == 499 or step + 1 == steps:
            stage.save(step + 1, encoder=encoder, heads=heads, optimizer=optimizer)
    return encoder.requires_grad_(False).eval()
