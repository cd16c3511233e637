"""Stable Diffusion 1.x and 2.x: CLIP's text, a 4-channel VAE, a U-Net (arXiv 2112.10752).

Other families share all but what the U-Net is told: they give functions of their own for the text's states and for what
stands beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from tehon.catalog.families import Family
from tehon.catalog.model import Model
from tehon.families.attention import use_attention
from tehon.families.family import Conditioning
from tehon.families.parts import LatentParts
from tehon.families.prompts import (
    MOST_CHUNKS,
    chunks_needed,
    filled,
    overlong,
    plain_chunks,
    weighted_chunks,
)
from tehon.machine.transfer import to_device

Encoded = tuple[list[Tensor], Tensor | None]
"""States (n, 77, width) of each text encoder, and the text as one vector (n, width), where there is one."""
EncodeIds = Callable[[Any, Mapping[str, Tensor], int], Encoded]
"""From parts, the ids (n, 77) for each text encoder, and the layer counted from the end."""
Added = Callable[[Mapping[str, Tensor]], dict[str, Any]]
"""From conditioning to what the U-Net takes beside states and places."""
_IDS = "ids "


def one_encoder(parts: LatentParts, ids: Mapping[str, Tensor], clip_skip: int) -> Encoded:
    """The states behind a layer counted from the end, with the norm that ends the last one."""
    encoder = parts.text_encoder
    if clip_skip == 1:
        return [encoder(ids["text_encoder"]).last_hidden_state], None
    inner = getattr(encoder, "text_model", encoder)
    hidden = encoder(ids["text_encoder"], output_hidden_states=True).hidden_states
    return [inner.final_layer_norm(hidden[-clip_skip])], None


def nothing(_told: Mapping[str, Tensor]) -> dict[str, Any]:
    """The text is all that the U-Net is told."""
    return {}


class StableDiffusion:
    """Implements `tehon.families.family.Behaviour`."""

    def __init__(self, family: Family, encode_ids: EncodeIds = one_encoder, added: Added = nothing) -> None:
        self.family = family
        self._encode_ids = encode_ids
        self._added = added

    def load(
        self, model: Model, dtype: torch.dtype, device: torch.device, storage: Mapping[str, str] | None = None
    ) -> LatentParts:
        return LatentParts(model, dtype, device, storage)

    def use_attention(self, parts: LatentParts, name: str) -> None:
        use_attention(parts.unet, name)

    def roots(self, parts: LatentParts, prefixes: Sequence[str] | None = None) -> dict[str, nn.Module]:
        wanted = self.family.adapter_roots if prefixes is None else prefixes
        return {prefix: getattr(parts, self.family.adapter_roots[prefix]) for prefix in wanted}

    def layer_name(self, prefix: str, path: str) -> str:
        """transformers 5 took the outer `text_model` away from its text encoder; the files keep it."""
        if prefix in self.family.text_rate_roots and not path.startswith("text_model."):
            path = f"text_model.{path}"
        return self.family.layer_name(prefix, path)

    def overlong(self, parts: LatentParts, caption: str, *, chunks: int = 1, weighted: bool = False) -> tuple[int, str]:
        lost = overlong(_words(parts.tokenizer), caption, chunks, weighted)
        return len(lost), parts.tokenizer.decode(lost).strip()

    def encode_text(
        self,
        parts: LatentParts,
        captions: Sequence[str],
        *,
        chunks: int = 1,
        padded: bool = True,
        clip_skip: int = 1,
        weighted: bool = False,
    ) -> Conditioning:
        tokens = self.tokens(parts, captions, chunks=chunks, padded=padded, weighted=weighted)
        return self.encode_tokens(parts, tokens, chunks=chunks, clip_skip=clip_skip)

    def tokens(
        self,
        parts: LatentParts,
        captions: Sequence[str],
        *,
        chunks: int = 1,
        padded: bool = True,
        weighted: bool = False,
    ) -> Conditioning:
        """`ids ...` and `emphasis` (n * chunks, 77), `places` as of `Conditioning`."""
        device = parts.alphas.device
        found: Conditioning = {}
        for part, tokenizer in parts.tokenizers.items():
            read = weighted_chunks if weighted else plain_chunks
            rows = [read(_words(tokenizer), caption, chunks, *_ends(tokenizer)) for caption in captions]
            found[f"{_IDS}{part}"] = to_device(torch.tensor([row for ids, _ in rows for row in ids]), device)
            if weighted:
                found["emphasis"] = to_device(torch.tensor([row for _, weights in rows for row in weights]), device)
        if not padded:
            # The encoder looks back only, so what it says of a caption does not depend on the padding behind it.
            lengths = [filled(_words(parts.tokenizer), caption, chunks, weighted) + 2 for caption in captions]
            places = torch.arange(75 * chunks + 2) < torch.tensor(lengths).unsqueeze(1)
            found["places"] = to_device(places, device)
        return found

    def encode_tokens(
        self, parts: LatentParts, tokens: Mapping[str, Tensor], *, chunks: int = 1, clip_skip: int = 1
    ) -> Conditioning:
        ids = {name.removeprefix(_IDS): tensor for name, tensor in tokens.items() if name.startswith(_IDS)}
        told = {name: tensor for name, tensor in tokens.items() if not name.startswith(_IDS)}
        rows, pooled = self._encode_ids(parts, ids, clip_skip)
        each = [joined(states, chunks) for states in rows]
        if "emphasis" in told:
            factors = joined(told.pop("emphasis").to(each[0].dtype).unsqueeze(-1), chunks)
            each = [emphasised(states, factors) for states in each]
        told["states"] = each[0] if len(each) == 1 else torch.cat(each, -1)
        if pooled is not None:
            told["pooled"] = pooled.unflatten(0, (-1, chunks))[:, 0]  # of a long caption's first piece
        return told

    @torch.no_grad()
    def encode_prompts(self, parts: LatentParts, prompts: Sequence[str], clip_skip: int = 1) -> Conditioning:
        words = _words(parts.tokenizer)
        chunks = max(chunks_needed(words, prompt, MOST_CHUNKS) for prompt in prompts)
        return self.encode_text(parts, prompts, chunks=chunks, clip_skip=clip_skip, weighted=True)

    @torch.no_grad()
    def encode_image(self, parts: LatentParts, pictures: Tensor) -> tuple[Tensor, Tensor]:
        posterior = parts.vae.encode(pictures.to(parts.vae.dtype)).latent_dist
        factor = self.latent_scale(parts)
        return posterior.mean * factor, posterior.std * factor

    def latent_scale(self, parts: LatentParts) -> float:
        return float(parts.vae.config.scaling_factor)

    def image_encoder_digest(self, parts: LatentParts) -> str:
        digest = blake2b(f"{self.latent_scale(parts)} {parts.vae.dtype}".encode(), digest_size=16)
        for part in ("encoder", "quant_conv"):
            for name, tensor in getattr(parts.vae, part).state_dict().items():
                digest.update(f"{part} {name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @torch.no_grad()
    def decode(self, parts: LatentParts, latents: Tensor) -> Tensor:
        return parts.vae.decode(latents.to(parts.vae.dtype) / parts.vae.config.scaling_factor).sample

    def predict(self, parts: LatentParts, noisy: Tensor, times: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        dtype = parts.dtype
        places = told.get("places")
        states = told["states"].to(dtype)
        out = parts.unet(
            noisy.to(dtype), times, states, encoder_attention_mask=places, return_dict=False, **self._added(told)
        )
        return out[0].float()


def _ends(tokenizer: Any) -> tuple[int, int, int]:
    """The ids of start, end and padding."""
    return tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id


def _words(tokenizer: Any) -> Any:
    """The function from text to token ids without start, end and padding."""
    return lambda text: tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def joined(rows: Tensor, chunks: int) -> Tensor:
    """Sequences of 77 as one: (n * chunks, 77, w) to (n, 75 chunks + 2, w), with one start and one end."""
    rows = rows.unflatten(0, (-1, chunks))
    return torch.cat([rows[:, 0, :1], rows[:, :, 1:-1].flatten(1, 2), rows[:, -1, -1:]], 1)


def emphasised(states: Tensor, weights: Tensor) -> Tensor:
    """Each vector times its weight, then all rescaled to the mean they had, as A1111 does: states (n, places, width),
    weights (n, places, 1)."""
    weighted = states * weights
    before, after = states.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
    same = before == after  # as without emphasis, where the mean may be zero
    return weighted * torch.where(same, 1.0, before / torch.where(same, 1.0, after))
