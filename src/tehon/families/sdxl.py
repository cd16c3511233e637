"""Stable Diffusion XL (arXiv 2307.01952): two text encoders side by side, and a U-Net that is also told the text as one
vector, how large the picture was, and which piece of it is seen.

>>> behaviour = stable_diffusion_xl(FAMILIES["sdxl"])
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tehon.catalog.families import Family
from tehon.families.parts import LatentParts
from tehon.families.sd import Encoded, StableDiffusion


def stable_diffusion_xl(family: Family) -> StableDiffusion:
    """The behaviour of SDXL: that of the earlier ones but for what the U-Net is told."""
    return StableDiffusion(family, two_encoders, size_and_text)


def two_encoders(parts: LatentParts, ids: Mapping[str, Tensor], clip_skip: int) -> Encoded:
    """The states of both encoders without a last norm. The last layer is never used: 1 and 2 are both the one before,
    as A1111 and ComfyUI count. The text as one vector is the second encoder's, from its end and with its norm."""
    skip = max(clip_skip, 2)
    first = parts.text_encoder(ids["text_encoder"], output_hidden_states=True)
    second = parts.text_encoder_2.text_model(ids["text_encoder_2"], output_hidden_states=True)
    # The padding may have a larger number than the end, so that the end is looked for and not the largest number.
    end = (ids["text_encoder_2"] == parts.tokenizers["text_encoder_2"].eos_token_id).int().argmax(-1)
    rows = torch.arange(len(end), device=end.device)
    pooled = parts.text_encoder_2.text_projection(second.last_hidden_state[rows, end])
    return [first.hidden_states[-skip], second.hidden_states[-skip]], pooled


def size_and_text(told: Mapping[str, Tensor]) -> dict[str, Any]:
    """`added_cond_kwargs` of diffusers' U-Net: the pooled text, and the six numbers of the frame."""
    return {"added_cond_kwargs": {"text_embeds": told["pooled"], "time_ids": told["frame"].to(told["pooled"].dtype)}}
