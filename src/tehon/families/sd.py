"""Stable Diffusion 1.x: CLIP ViT-L text, a 4-channel VAE, a U-Net that predicts the noise (arXiv 2112.10752)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tehon.catalog.families import Family
from tehon.families.family import Conditioning
from tehon.families.networks import Blank, fill
from tehon.families.prompts import (
    MOST_CHUNKS,
    chunks_needed,
    filled,
    overlong,
    plain_chunks,
    weighted_chunks,
)
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

    def overlong(
        self, parts: StableDiffusionParts, caption: str, *, chunks: int = 1, weighted: bool = False
    ) -> tuple[int, str]:
        lost = overlong(self._words(parts), caption, chunks, weighted)
        return len(lost), parts.tokenizer.decode(lost).strip()

    def _ends(self, parts: StableDiffusionParts) -> tuple[int, int, int]:
        """The ids of start, end and padding."""
        return parts.tokenizer.bos_token_id, parts.tokenizer.eos_token_id, parts.tokenizer.pad_token_id

    def _words(self, parts: StableDiffusionParts) -> Any:
        """The function from text to token ids without start, end and padding."""
        return lambda text: parts.tokenizer(text, add_special_tokens=False, verbose=False).input_ids

    def encode_text(
        self,
        parts: StableDiffusionParts,
        captions: Sequence[str],
        *,
        chunks: int = 1,
        padded: bool = True,
        clip_skip: int = 1,
        weighted: bool = False,
    ) -> Conditioning:
        read = weighted_chunks if weighted else plain_chunks
        rows = [read(self._words(parts), caption, chunks, *self._ends(parts)) for caption in captions]
        device = parts.alphas.device
        ids = torch.tensor([row for ids, _ in rows for row in ids], device=device)
        states = joined(self._last_states(parts, ids, clip_skip), chunks)
        if weighted:
            weights = torch.tensor([row for _, weights in rows for row in weights], device=device)
            states = emphasised(states, joined(weights.to(states.dtype).unsqueeze(-1), chunks))
        if padded:
            return {"states": states}
        # The encoder looks back only, so what it says of a caption does not depend on the padding behind it.
        lengths = [filled(self._words(parts), caption, chunks, weighted) + 2 for caption in captions]
        places = torch.arange(states.shape[1], device=device)
        return {"states": states, "places": places < torch.tensor(lengths, device=device).unsqueeze(1)}

    @torch.no_grad()
    def encode_prompts(self, parts: StableDiffusionParts, prompts: Sequence[str], clip_skip: int = 1) -> Conditioning:
        words = self._words(parts)
        chunks = max(chunks_needed(words, prompt, MOST_CHUNKS) for prompt in prompts)
        return self.encode_text(parts, prompts, chunks=chunks, clip_skip=clip_skip, weighted=True)

    def _last_states(self, parts: StableDiffusionParts, ids: Tensor, clip_skip: int) -> Tensor:
        """The states (n, 77, width) behind a layer counted from the end, with the norm that ends the last one."""
        if clip_skip == 1:
            return parts.text_encoder(ids).last_hidden_state
        inner = getattr(parts.text_encoder, "text_model", parts.text_encoder)
        hidden = parts.text_encoder(ids, output_hidden_states=True).hidden_states
        return inner.final_layer_norm(hidden[-clip_skip])

    @torch.no_grad()
    def encode_image(self, parts: StableDiffusionParts, pictures: Tensor) -> tuple[Tensor, Tensor]:
        posterior = parts.vae.encode(pictures.to(parts.vae.dtype)).latent_dist
        factor = self.latent_scale(parts)
        return posterior.mean * factor, posterior.std * factor

    def latent_scale(self, parts: StableDiffusionParts) -> float:
        return float(parts.vae.config.scaling_factor)

    def image_encoder_digest(self, parts: StableDiffusionParts) -> str:
        digest = blake2b(f"{self.latent_scale(parts)} {parts.vae.dtype}".encode(), digest_size=16)
        for part in ("encoder", "quant_conv"):
            for name, tensor in getattr(parts.vae, part).state_dict().items():
                digest.update(f"{part} {name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @torch.no_grad()
    def decode(self, parts: StableDiffusionParts, latents: Tensor) -> Tensor:
        return parts.vae.decode(latents / parts.vae.config.scaling_factor).sample

    def predict(self, parts: StableDiffusionParts, noisy: Tensor, times: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        places = told.get("places")
        return parts.unet(noisy, times, told["states"], encoder_attention_mask=places, return_dict=False)[0]


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


def emphasised(states: Tensor, weights: Tensor) -> Tensor:
    """Each vector times its weight, then all rescaled to the mean they had, as A1111 does: states (n, places, width),
    weights (n, places, 1)."""
    weighted = states * weights
    before, after = states.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
    return weighted * (before / after)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
