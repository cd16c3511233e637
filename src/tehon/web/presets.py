"""Settings to start from, by what is to be learned and on what: {preset: {dotted name: value}}. Names and descriptions
stand in the messages."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
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
    "low_memory": {
        "data.batch_size": 1,
        "training.gradient_accumulation_steps": 4,
        "feed.cache_latents": True,
        "feed.cache_latents_to_disk": True,
        "optimizer.text_encoder_lr": 0.0,
        "memory.gradient_checkpointing": "whole",
    },
    "sdxl": {
        "data.resolution": 1024,
        "data.max_bucket_reso": 2048,
        "network.rank": 16,
        "network.alpha": 8.0,
        "optimizer.learning_rate": 1e-4,
        "optimizer.text_encoder_lr": 0.0,
        "feed.cache_latents_to_disk": True,
    },
}
