"""Settings to start from, by what is to be learned: {preset: {dotted name: value}}, and what is put on top of them for
a kind of model or machine. Names and descriptions stand in the messages.

A preset gives a known state: whatever some preset sets and this one doesn't goes back to its default, so that two that
are chosen one after the other don't pile up. None of them touches the model, the folders or the output.

>>> preset_values("character", ["sdxl"])["data.resolution"]
1024
"""

from collections.abc import Collection
from typing import Any

from tehon.settings.fields import fields

PRESETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "character": {
        "network.kind": "lora",
        "network.rank": 16,
        "network.alpha": 8.0,
        "optimizer.learning_rate": 1e-4,
        "optimizer.text_encoder_lr": 5e-5,
        "optimizer.lr_scheduler": "cosine",
        "training.epochs": 10,
        "data.shuffle_caption": True,
        "data.keep_tokens": 1,
        "objective.min_snr_gamma": 5.0,
    },
    "style": {
        "network.kind": "locon",
        "network.rank": 32,
        "network.alpha": 16.0,
        "network.conv_rank": 16,
        "network.conv_alpha": 8.0,
        "optimizer.learning_rate": 1e-4,
        "optimizer.text_encoder_lr": 0.0,
        "training.epochs": 10,
        "data.caption_dropout_rate": 0.05,
        "objective.noise_offset": 0.05,
        "objective.min_snr_gamma": 5.0,
    },
    "concept": {
        "network.kind": "lora",
        "network.rank": 8,
        "network.alpha": 4.0,
        "optimizer.learning_rate": 2e-4,
        "optimizer.text_encoder_lr": 1e-4,
        "training.epochs": 8,
        "objective.min_snr_gamma": 5.0,
    },
}

ADDITIONS: dict[str, dict[str, Any]] = {
    "sdxl": {
        "data.resolution": 1024,
        "data.max_bucket_reso": 2048,
        "optimizer.text_encoder_lr": 0.0,
        "feed.cache_latents_to_disk": True,
    },
    "low_memory": {
        "data.batch_size": 1,
        "training.gradient_accumulation_steps": 4,
        "feed.cache_latents": True,
        "feed.cache_latents_to_disk": True,
        "optimizer.text_encoder_lr": 0.0,
        "memory.gradient_checkpointing": "whole",
    },
}


def preset_values(preset: str, additions: Collection[str] = ()) -> dict[str, Any]:
    """The values of all settings that some preset or addition sets."""
    rows = {**PRESETS, **ADDITIONS}
    touched = {name for values in rows.values() for name in values}
    found = {one.name: one.default for one in fields() if one.name in touched} | PRESETS[preset]
    for name, values in ADDITIONS.items():
        if name in additions:
            found |= values
    return found
