"""diffusers' U-Net with peft's LoRA on a graphics card, trained in bf16 as diffusers' example trains it, at its best:
AdamW fused, attention by PyTorch, latents and texts on the card, and no loss read before the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import cast_training_params
from gpu_models import DEVICE
from gpu_ours import Batch
from peft import LoraConfig
from side import drawn
from side_diffusers import UNET_LAYERS
from torch import Tensor

from tehon.catalog.families import Family


class Theirs:
    def __init__(self, folder: Path, rank: int, batch: Batch) -> None:
        self.batch = batch
        self.schedule = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        unet: Any = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.bfloat16)
        self.unet = unet.requires_grad_(False).to(DEVICE)
        options: dict[str, Any] = {"r": rank, "lora_alpha": rank, "init_lora_weights": "gaussian"}
        self.unet.add_adapter(LoraConfig(**options, target_modules=UNET_LAYERS))
        cast_training_params(self.unet, dtype=torch.float32)
        self.unet.train()
        self.weights = [one for one in self.unet.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, weight_decay=1e-2, fused=True)

    def lay_out(self, layout: str) -> None:
        """Channels first ("nchw") or last ("nhwc")."""
        self.unet.to(memory_format=torch.channels_last if layout == "nhwc" else torch.contiguous_format)

    def step(self) -> Tensor:
        latents = self.batch.latents
        times = torch.randint(0, 1000, (len(latents),), device=DEVICE)
        loss = self.loss(torch.randn_like(latents), times)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def loss(self, noise: Tensor, times: Tensor) -> Tensor:
        one = self.batch
        noisy = self.schedule.add_noise(one.latents, noise, times)
        with torch.autocast(DEVICE, torch.bfloat16):
            found = self.unet(noisy, times, one.states, added_cond_kwargs=one.added, return_dict=False)[0]
        return F.mse_loss(found.float(), noise)

    def guard(self, family: Family) -> tuple[float, Mapping[str, Tensor]]:
        """Loss and gradients with drawn weights and the batch's own noise; the weights stay drawn."""
        learning = ((path, one) for path, one in self.unet.named_parameters() if one.requires_grad)
        named = {_file_key(family, path): one for path, one in learning}
        with torch.no_grad():
            for key, weight in named.items():
                weight.copy_(drawn(key, weight.cpu()))
        loss = self.loss(self.batch.noise, self.batch.times)
        loss.backward()
        found = {key: weight.grad.flatten().float() for key, weight in named.items() if weight.grad is not None}
        self.optimizer.zero_grad()
        return float(loss), found


def _file_key(family: Family, path: str) -> str:
    """The key in a LoRA file, from peft's path of a parameter."""
    layer, _, which = path.removesuffix(".default.weight").rpartition(".")
    name = family.layer_name("lora_unet", layer)
    return f"{name}.lora_{'down' if which == 'lora_A' else 'up'}.weight"
