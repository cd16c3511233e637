"""diffusers' U-Net with peft's LoRA, trained as diffusers' example `train_text_to_image_lora.py` trains it.

Where the example could be faster it is: latents are encoded once and not at each step, and so is the text unless it is
trained. `layout` is "nchw" or "nhwc" (channels last).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from PIL import Image
from side import drawn, serve
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

UNET_LAYERS = r".*attentions\.\d+\.(proj_in|proj_out|.*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2))"
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


class Example:
    def __init__(self, about: dict[str, Any]) -> None:
        torch.manual_seed(0)
        folder, pictures = Path(about["model"]), Path(about["pictures"])
        self.noise_scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(False)
        vae: Any = AutoencoderKL.from_pretrained(folder, subfolder="vae")
        self.unet: Any = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").requires_grad_(False)
        if about["layout"] == "nhwc":
            self.unet.to(memory_format=torch.channels_last)
        options: dict[str, Any] = {"r": about["rank"], "lora_alpha": about["rank"], "init_lora_weights": "gaussian"}
        self.unet.add_adapter(LoraConfig(**options, target_modules=UNET_LAYERS))
        self.trained: list[tuple[str, Any]] = [("lora_unet", self.unet)]
        if about["text"]:
            self.text.add_adapter(LoraConfig(**options, target_modules=TEXT_LAYERS))
            self.trained.append(("lora_te", self.text))
        for _, network in self.trained:
            cast_training_params(network, dtype=torch.float32)
        self.unet.train()
        self.weights = [p for _, network in self.trained for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
        self.rates = get_scheduler("constant", optimizer=self.optimizer)
        self.scale = vae.config.scaling_factor
        files = sorted(pictures.glob("*/*.png"))
        self.latents = [self._encode(vae, file) for file in files]
        captions = [file.with_suffix(".txt").read_text() for file in files]
        self.ids = [self._tokens(caption) for caption in captions]
        with torch.no_grad():
            self.states = [self.text(ids).last_hidden_state for ids in self.ids]
        if not about["text"]:
            del self.text
        self.about, self.done, self.batch = about, 0, about["batch"]

    @torch.no_grad()
    def _encode(self, vae: Any, file: Path) -> Any:
        pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).float().permute(2, 0, 1)[None]
        return vae.encode(pixels / 127.5 - 1).latent_dist

    def _tokens(self, caption: str) -> torch.Tensor:
        most = self.tokenizer.model_max_length if self.tokenizer.model_max_length < 1000 else 77
        return self.tokenizer(
            caption, max_length=most, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids

    def step(self) -> None:
        rows = [(self.done * self.batch + i) % len(self.latents) for i in range(self.batch)]
        latents = torch.cat([self.latents[row].sample() for row in rows]) * self.scale
        noise = torch.randn_like(latents)
        times = torch.randint(0, 1000, (len(rows),)).long()
        if self.about["text"]:
            states = self.text(torch.cat([self.ids[row] for row in rows]), return_dict=False)[0]
        else:
            states = torch.cat([self.states[row] for row in rows])
        loss = self._loss(latents, noise, times, states)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.rates.step()
        self.optimizer.zero_grad()
        loss.detach().item()
        self.done += 1

    def _loss(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        noisy = self.noise_scheduler.add_noise(latents, noise, times)
        prediction = self.unet(noisy, times, states, return_dict=False)[0]
        return F.mse_loss(prediction.float(), noise.float(), reduction="mean")

    def guard(self, inputs: Path, answer: Path) -> None:
        given = torch.load(inputs)
        named: dict[str, torch.nn.Parameter] = {}
        for prefix, network in self.trained:
            for path, weight in network.named_parameters():
                if weight.requires_grad:
                    named[file_key(prefix, path)] = weight
        with torch.no_grad():
            for key, weight in named.items():
                weight.copy_(drawn(key, weight))
        if self.about["text"]:
            states = self.text(self._tokens(given["caption"]), return_dict=False)[0]
        else:
            with torch.no_grad():
                states = self.states[0]
        loss = self._loss(given["latents"], given["noise"], given["times"], states)
        loss.backward()
        torch.save({"loss": loss.item(), "gradients": {key: weight.grad for key, weight in named.items()}}, answer)
        self.optimizer.zero_grad()


def file_key(prefix: str, path: str) -> str:
    """The key in a LoRA file of kohya's naming, from peft's path of a parameter."""
    layer, _, which = path.removesuffix(".default.weight").rpartition(".")
    layer = layer.removeprefix("text_model.")
    outer = "text_model_" if prefix == "lora_te" else ""
    return f"{prefix}_{outer}{layer.replace('.', '_')}.lora_{'down' if which == 'lora_A' else 'up'}.weight"


if __name__ == "__main__":
    serve(Example)
