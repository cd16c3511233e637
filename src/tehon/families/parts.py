"""The networks of a latent diffusion model, each loaded when it is first used and let go when somebody says so.

`training/assemble.py` lets go what the updates don't use, so that VAE, text encoders and U-Net need not fit into memory
together.

>>> parts = LatentParts(model, torch.float32, torch.device("cpu"))
>>> parts.vae.config.scaling_factor
0.18215
>>> parts.release_but({"unet"})
"""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tehon.catalog.model import Model
from tehon.families.networks import Blank, fill
from tehon.families.packing import pack
from tehon.families.schedulers import ddim
from tehon.messages.problem import Problem, reason_of
from tehon.weights.model import part_tensors


class LatentParts:
    """Everything is frozen and in evaluation mode. U-Net and text encoders compute in `dtype`; the VAE, whose numbers
    can grow beyond half precision, in float32. `storage` is {part: kind of `tehon.families.packing`} of the parts that
    lie in memory in a narrower type."""

    def __init__(
        self, model: Model, dtype: torch.dtype, device: torch.device, storage: Mapping[str, str] | None = None
    ) -> None:
        self.model = model
        self.dtype = dtype
        self.device = device
        self.when_loaded: list[Callable[[str, nn.Module], None]] = []
        self.storage = storage or {}
        try:
            scheduler = ddim(model.schedule)
        except (ValueError, TypeError) as error:
            raise unreadable(model, error) from None
        self.schedule: dict[str, Any] = {**model.schedule, **scheduler.config}
        self.alphas: Tensor = scheduler.alphas_cumprod.to(device)

    @cached_property
    def unet(self) -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return self._filled("unet", lambda config: UNet2DConditionModel.from_config(config), self.dtype)

    @cached_property
    def vae(self) -> Any:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        vae = self._filled("vae", lambda config: AutoencoderKL.from_config(config), torch.float32)
        # A third faster on a CPU than the other way round.
        return vae.to(memory_format=torch.channels_last) if self.device.type == "cpu" else vae

    @cached_property
    def text_encoder(self) -> Any:
        return self._text("text_encoder")

    @cached_property
    def text_encoder_2(self) -> Any:
        return self._text("text_encoder_2")

    @cached_property
    def tokenizers(self) -> dict[str, Any]:
        """{text encoder: its tokenizer, whose padding token is the one that the encoder was trained with}."""
        from transformers.models.clip.tokenization_clip import CLIPTokenizer

        found: dict[str, Any] = {}
        options: dict[str, Any]
        for part, pad in self.model.family.pads.items():
            own = self.model.path / part.replace("text_encoder", "tokenizer")
            given = self.model.tokenizer
            folder, options = (own, {}) if given is None else (given, {"pad_token": pad})
            try:
                found[part] = CLIPTokenizer.from_pretrained(folder, local_files_only=True, **options)
            except (OSError, ValueError, TypeError) as error:
                raise unreadable(self.model, error) from None
        return found

    @property
    def tokenizer(self) -> Any:
        """That of the first text encoder."""
        return self.tokenizers["text_encoder"]

    def release_but(self, needed: Collection[str]) -> None:
        """Lets all networks go but these. One that is used again is read again, and `when_loaded` told again: what has
        been changed in it otherwise is lost."""
        for part in self.model.configs:
            if part not in needed:
                self.__dict__.pop(part, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what was theirs is of use to other programs too

    def _text(self, part: str) -> Any:
        from transformers.models.clip.configuration_clip import CLIPTextConfig
        from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # bars of the libraries would break into ours
        kind = CLIPTextModelWithProjection if self.model.family.pooled_from == part else CLIPTextModel
        network = self._filled(part, lambda config: kind(CLIPTextConfig(**config)), self.dtype)
        for path, embeddings in network.named_modules():
            if path.endswith("embeddings"):  # the one tensor that is computed and in no file
                places = network.config.max_position_embeddings
                embeddings.position_ids = torch.arange(places, device=self.device)[None]
        return network

    def _filled(self, part: str, build: Any, dtype: torch.dtype) -> Any:
        model = self.model
        try:
            with Blank():
                network: nn.Module = build(dict(model.configs[part]))
        except (OSError, ValueError, TypeError) as error:
            raise unreadable(model, error) from None
        tensors = part_tensors(model, part)
        if part.startswith("text_encoder"):
            tensors = _fitting(tensors, network)
        path = model.vae if part == "vae" and model.vae else model.path if model.single_file else model.path / part
        storage = self.storage.get(part)
        network = fill(network, tensors, dtype, self.device, path, None if self.when_loaded else storage)
        for change in self.when_loaded:
            change(part, network)
        if storage and self.when_loaded:  # into weights that are not rounded yet, where a small change would be lost
            pack(network, storage, dtype)
        return network


def _fitting(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """transformers 5 took the outer `text_model` away from its plain text encoder; the files keep it. Positions are
    computed, and only the encoder that gives a pooled text has a projection."""
    own = network.state_dict().keys()
    outer = "text_model." if any(name.startswith("text_model.") for name in own) else ""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            found |= {name: tensor} if name in own else {}
        elif not name.endswith("position_ids"):
            found[outer + name.removeprefix("text_model.")] = tensor
    return found


def unreadable(model: Model, error: Exception) -> Problem:
    """The Problem for what a library says of a model."""
    return Problem("model_unreadable", field="model.path", path=model.path, reason=reason_of(error))
