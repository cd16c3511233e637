"""Stable Diffusion 1.5 and SDXL with U-Nets of real size, for timing on graphics cards: drawn on the card, as folders
that diffusers and tehon both read. Text encoders have real widths and few layers, and VAEs are thin, since neither is
part of a step.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from sizes import twins
from torch import nn

from tehon.families.networks import Blank


@dataclass(frozen=True)
class Real:
    """A model: its family, and `side`, the pixels of the pictures it is trained on."""

    family: str
    side: int


DEVICE = "cuda"
MODELS = {"sd15": Real("sd1", 512), "sdxl": Real("sdxl", 1024)}
_WIDE = {"num_hidden_layers": 3}
_TEXTS: dict[str, dict[str, dict[str, Any]]] = {
    "sd1": {"text_encoder": _WIDE | {"hidden_size": 768}},
    "sdxl": {
        "text_encoder": _WIDE | {"hidden_size": 768},
        "text_encoder_2": _WIDE | {"hidden_size": 1280, "projection_dim": 1280},
    },
}


def real_folder(root: Path, name: str) -> Path:
    """The model's folder, written unless it is there; the U-Net in bf16."""
    real, folder, make = MODELS[name], root / name, twins()
    if not (folder / "model_index.json").exists():
        texts = {part: make.TEXTS[real.family][part] | row for part, row in _TEXTS[real.family].items()}
        make.TEXTS[real.family] = texts
        nets = make.build(real.family)
        nets["unet"] = drawn_unet(make.REAL[real.family])
        make.write_folder(nets, folder, real.family)
    return folder


def drawn_unet(config: dict[str, Any]) -> Any:
    """A U-Net in bf16 on the card, its weights uniform within 1/√inputs as diffusers' constructor draws them, which
    keeps activations near one."""
    with Blank():
        unet: Any = UNet2DConditionModel(**config)
    unet = unet.to(torch.bfloat16).to_empty(device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(7)
    for module in unet.modules():
        bound = module.weight[0].numel() ** -0.5 if isinstance(module, nn.Linear | nn.Conv2d) else 0.0
        for name, tensor in module.named_parameters(recurse=False):
            if bound:
                tensor.data.uniform_(-bound, bound, generator=generator)
            else:
                tensor.data.fill_(float(name == "weight"))
    return unet.requires_grad_(False)
