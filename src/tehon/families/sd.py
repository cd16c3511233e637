"""Stable Diffusion 1.x: CLIP ViT-L text, a 4-channel VAE, a U-Net that predicts the noise (arXiv 2112.10752)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tehon.catalog.families import Family
from tehon.families.networks import Blank, fill, without_compiler
from tehon.families.prompts import MOST_CHUNKS, chunks_needed, overlong, token_chunks, weighted_chunks
from tehon.messages.problem import Problem
from tehon.weights.folder import read_part


@dataclass
class StableDiffusionParts:
    """Everything is frozen and in evaluation mode."""

    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    alphas: Tensor
    schedule: dict[str, Any]


class StableDiffusion:
    """Implements `tehon.families.family.Behaviour`."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def load(self, folder: Path, dtype: torch.dtype, device: torch.device) -> StableDiffusionParts:
        with without_compiler():
            from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
            from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
            from diffusers.schedulers.scheduling_ddim import DDIMScheduler
            from transformers.models.clip.configuration_clip import CLIPTextConfig
            from transformers.models.clip.modeling_clip import CLIPTextModel
            from transformers.models.clip.tokenization_clip import CLIPTokenizer
            from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # bars of the libraries would break into ours
        try:
            with Blank():
                text_encoder: Any = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
                unet: Any = _from_config(UNet2DConditionModel, folder / "unet")
                vae: Any = _from_config(AutoencoderKL, folder / "vae")
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            schedule: Any = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise Problem("model_unreadable", field="model.path", path=folder, reason=_first_line(error)) from None
        fill(text_encoder, _text_tensors(folder / "text_encoder", text_encoder), dtype, device, folder / "text_encoder")
        for path, embeddings in text_encoder.named_modules():
            if path.endswith("embeddings"):  # the one tensor that is computed and in no file
                embeddings.position_ids = torch.arange(text_encoder.config.max_position_embeddings, device=device)[None]
        fill(unet, read_part(folder / "unet"), dtype, device, folder / "unet")
        fill(vae, _vae_tensors(folder / "vae"), dtype, device, folder / "vae")
        if device.type == "cpu":
            vae.to(memory_format=torch.channels_last)  # a third faster than the other way round
        alphas = schedule.alphas_cumprod.to(device)
        return StableDiffusionParts(tokenizer, text_encoder, unet, vae, alphas, dict(schedule.config))

    def roots(self, parts: StableDiffusionParts) -> dict[str, nn.Module]:
        return {prefix: getattr(parts, part) for prefix, part in self.family.adapter_roots.items()}

    def file_path(self, prefix: str, path: str) -> str:
        """transformers 5 took the outer `text_model` away from its text encoder; the files keep it."""
        if self.family.adapter_roots[prefix] == "text_encoder" and not path.startswith("text_model."):
            return f"text_model.{path}"
        return path

    def overlong(self, parts: StableDiffusionParts, caption: str) -> int:
        return overlong(self._words(parts), caption, 1)

    def tokens(self, parts: StableDiffusionParts, captions: list[str]) -> Tensor:
        """Token ids, int64 (captions, 77)."""
        rows = [token_chunks(self._words(parts), caption, 1, *self._ends(parts))[0] for caption in captions]
        return torch.tensor(rows, device=parts.alphas.device)

    def _ends(self, parts: StableDiffusionParts) -> tuple[int, int, int]:
        """The ids of start, end and padding."""
        return parts.tokenizer.bos_token_id, parts.tokenizer.eos_token_id, parts.tokenizer.pad_token_id

    def _words(self, parts: StableDiffusionParts) -> Any:
        """The function from text to token ids without start, end and padding."""
        return lambda text: parts.tokenizer(text, add_special_tokens=False, verbose=False).input_ids

    def encode_text(self, parts: StableDiffusionParts, captions: list[str]) -> Tensor:
        return parts.text_encoder(self.tokens(parts, captions)).last_hidden_state

    @torch.no_grad()
    def encode_prompts(self, parts: StableDiffusionParts, prompts: list[str]) -> Tensor:
        """(n, 75 chunks + 2, width): each vector times its weight, then rescaled to the mean it had, as A1111 does."""
        words = self._words(parts)
        chunks = max(chunks_needed(words, prompt, MOST_CHUNKS) for prompt in prompts)
        rows = [weighted_chunks(words, prompt, chunks, *self._ends(parts)) for prompt in prompts]
        device = parts.alphas.device
        ids = torch.tensor([row for ids, _ in rows for row in ids], device=device)
        weights = torch.tensor([row for _, weights in rows for row in weights], device=device)
        plain = joined(parts.text_encoder(ids).last_hidden_state, chunks)
        weighted = plain * joined(weights.to(plain.dtype).unsqueeze(-1), chunks)
        before, after = plain.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
        return weighted * (before / after)

    @torch.no_grad()
    def encode_image(self, parts: StableDiffusionParts, pictures: Tensor) -> tuple[Tensor, Tensor]:
        posterior = parts.vae.encode(pictures).latent_dist
        factor = parts.vae.config.scaling_factor
        return posterior.mean * factor, posterior.std * factor

    @torch.no_grad()
    def decode(self, parts: StableDiffusionParts, latents: Tensor) -> Tensor:
        return parts.vae.decode(latents / parts.vae.config.scaling_factor).sample

    def predict(self, parts: StableDiffusionParts, noisy: Tensor, times: Tensor, text: Tensor) -> Tensor:
        return parts.unet(noisy, times, text, return_dict=False)[0]


def _from_config(kind: Any, folder: Path) -> Any:
    """A network of diffusers as its configuration file describes it."""
    return kind.from_config(kind.load_config(folder))


def _text_tensors(folder: Path, network: nn.Module) -> dict[str, Tensor]:
    """transformers 5 took the outer `text_model` away from its text encoder; the files keep it."""
    outer = "text_model." if any(name.startswith("text_model.") for name in network.state_dict()) else ""
    unused = ("position_ids", "text_projection.weight")
    tensors = {name: tensor for name, tensor in read_part(folder).items() if not name.endswith(unused)}
    return {outer + name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _vae_tensors(folder: Path) -> dict[str, Tensor]:
    """The VAEs of early folders have the attention's layers under their first names."""

    def today(name: str) -> str:
        place, _, end = name.rpartition(".")
        outer, _, layer = place.rpartition(".")
        return f"{outer}.{_OLD_ATTENTION.get(layer, layer)}.{end}" if ".attentions." in name else name

    return {today(name): tensor for name, tensor in read_part(folder).items()}


def joined(rows: Tensor, chunks: int) -> Tensor:
    """Sequences of 77 as one: (n * chunks, 77, w) to (n, 75 chunks + 2, w), with one start and one end."""
    rows = rows.unflatten(0, (-1, chunks))
    return torch.cat([rows[:, 0, :1], rows[:, :, 1:-1].flatten(1, 2), rows[:, -1, -1:]], 1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
