"""The trained parts to the folder that ships: diffusers' layout, fp16 safetensors."""

import json
from pathlib import Path

import safetensors.torch
import torch

from tehon.demo.recipe.parts import Net, new_schedule

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def pack(folder: Path, vae: Net, encoder: Net, unet: Net) -> None:
    """Writes everything but the tokenizer, which the text stage has put there."""
    vae.half().save_pretrained(folder / "vae")
    unet.half().save_pretrained(folder / "unet")
    encoder.half().save_pretrained(folder / "text_encoder")
    _name_as_published(folder / "text_encoder" / "model.safetensors")
    new_schedule().save_pretrained(folder / "scheduler")
    for file in folder.rglob("config.json"):
        config = json.loads(file.read_text("utf8"))
        config.pop("_name_or_path", None)  # where it lay on the machine that made it
        file.write_text(json.dumps(config, indent=2) + "\n", "utf8")
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n", "utf8")


def _name_as_published(file: Path) -> None:
    """Published text encoders keep everything under `text_model`; transformers 5 writes without, and reads both."""
    tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(file)
    named = {name if name.startswith("text_model.") else f"text_model.{name}": t for name, t in tensors.items()}
    safetensors.torch.save_file(named, file, {"format": "pt"})
