"""What every family of models must be able to do. A new family is a row in the catalog and a module like `sd.py`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tehon.catalog.families import Family
from tehon.catalog.model import Model

Conditioning = dict[str, Tensor]
"""What a network is told beside the noisy latents, by name; the first axis of each tensor counts the samples.

`states` (n, places, width) are the text's; `places`, bool (n, places), says which of them may be looked at: all where
it is missing; `pooled` (n, width) is the text as one vector; `frame` (n, 6) says how large the picture was and which
piece of it is seen (`tehon.data.feed.views.frame`).
"""


class Parts(Protocol):
    """The loaded networks of one model, and its noise schedule."""

    alphas: Tensor
    """Cumulative alphas, float32 (timesteps,), on the networks' device."""

    schedule: dict[str, Any]
    """The model's scheduler configuration, as diffusers writes it."""

    when_loaded: list[Callable[[str, nn.Module], None]]
    """Called with each network that is loaded and its name, for who wants to change it."""

    def release_but(self, needed: Collection[str]) -> None:
        """Lets all networks go but those named; one that is used again is read again."""
        ...


class Behaviour(Protocol):
    """The calling convention of a family. Latents are scaled as its U-Net expects them."""

    family: Family

    def load(
        self, model: Model, dtype: torch.dtype, device: torch.device, storage: Mapping[str, str] | None = None
    ) -> Any:
        """Parts, frozen. Each network is read when it is first used; U-Net and text encoders compute in the type.
        `storage` is {part: kind} of those that are packed while they are read, by `tehon.families.packing`."""
        ...

    def use_attention(self, parts: Any, name: str) -> None:
        """Lets the U-Net compute attention in one of the ways of `tehon.families.attention`."""
        ...

    def roots(self, parts: Any, prefixes: Sequence[str] | None = None) -> dict[str, nn.Module]:
        """{prefix of kohya's key names: the network whose layers carry it}, of some prefixes or of all."""
        ...

    def layer_name(self, prefix: str, path: str) -> str:
        """A layer's name in LoRA files, from its path in the loaded network."""
        ...

    def overlong(self, parts: Any, caption: str, *, chunks: int = 1, weighted: bool = False) -> tuple[int, str]:
        """How many tokens of a caption are cut off, and the text that they stand for."""
        ...

    def encode_text(
        self,
        parts: Any,
        captions: Sequence[str],
        *,
        chunks: int = 1,
        padded: bool = True,
        clip_skip: int = 1,
        weighted: bool = False,
    ) -> Conditioning:
        """What captions of up to 75 tokens a chunk say, differentiable in the text encoders' adapters. Without padding
        it has `places`. `clip_skip` counts the encoder's layers from its end; `weighted` reads emphasis in brackets."""
        ...

    def tokens(
        self, parts: Any, captions: Sequence[str], *, chunks: int = 1, padded: bool = True, weighted: bool = False
    ) -> Conditioning:
        """The first half of `encode_text`, in which nothing learns: numbers that say which words the captions have."""
        ...

    def encode_tokens(
        self, parts: Any, tokens: Mapping[str, Tensor], *, chunks: int = 1, clip_skip: int = 1
    ) -> Conditioning:
        """The second half of `encode_text`, all of it on the device. What is not among the tokens stays as it is."""
        ...

    def encode_prompts(self, parts: Any, prompts: Sequence[str], clip_skip: int = 1) -> Conditioning:
        """What prompts say for drawing, as A1111 reads prompts: emphasis in brackets, up to 225 tokens."""
        ...

    def encode_image(self, parts: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n, c, h/8, w/8) of the latents of pictures (n, 3, h, w) in [-1, 1]."""
        ...

    def latent_scale(self, parts: Any) -> float:
        """What the VAE's own numbers are multiplied with."""
        ...

    def image_encoder_digest(self, parts: Any) -> str:
        """A digest of all that `encode_image` depends on: weights, precision, scale."""
        ...

    def decode(self, parts: Any, latents: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) in [-1, 1] from latents."""
        ...

    def predict(self, parts: Any, noisy: Tensor, times: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """The network's prediction, float32, shaped like `noisy`; times int64 (n,); what it is told as from
        `encode_text`, with the `frame`."""
        ...


def behaviour_of(family: Family) -> Behaviour:
    """The behaviour of a family in the catalog."""
    from tehon.families.sd import StableDiffusion
    from tehon.families.sdxl import stable_diffusion_xl

    return {"sd1": StableDiffusion, "sd2": StableDiffusion, "sdxl": stable_diffusion_xl}[family.name](family)
