"""What every family of models must be able to do. A new family is a row in the catalog and a module like `sd.py`."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tehon.catalog.families import Family


class Parts(Protocol):
    """The loaded networks of one model, and its noise schedule."""

    alphas: Tensor
    """Cumulative alphas, float32 (timesteps,), on the networks' device."""

    schedule: dict[str, Any]
    """The model's scheduler configuration, as diffusers writes it."""


class Behaviour(Protocol):
    """The calling convention of a family. Latents are scaled as its U-Net expects them."""

    family: Family

    def load(self, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
        """Parts, frozen, from a diffusers folder."""
        ...

    def roots(self, parts: Any) -> dict[str, nn.Module]:
        """{prefix of kohya's key names: the network whose layers carry it}."""
        ...

    def file_path(self, prefix: str, path: str) -> str:
        """A layer's dotted path as LoRA files know it, from its path in the loaded network."""
        ...

    def overlong(self, parts: Any, caption: str) -> int:
        """How many tokens of a caption are cut off."""
        ...

    def encode_text(self, parts: Any, captions: list[str]) -> Tensor:
        """Conditioning (n, places, width), differentiable in the text encoder's adapters."""
        ...

    def encode_prompts(self, parts: Any, prompts: list[str]) -> Tensor:
        """Conditioning for drawing, as A1111 reads prompts: emphasis in brackets, up to 225 tokens."""
        ...

    def encode_image(self, parts: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n, c, h/8, w/8) of the latents of pictures (n, 3, h, w) in [-1, 1]."""
        ...

    def decode(self, parts: Any, latents: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) in [-1, 1] from latents."""
        ...

    def predict(self, parts: Any, noisy: Tensor, times: Tensor, text: Tensor) -> Tensor:
        """The network's prediction, shaped like `noisy`; times int64 (n,)."""
        ...


def behaviour_of(family: Family) -> Behaviour:
    """The behaviour of a family in the catalog."""
    from tehon.families.sd import StableDiffusion

    return {"sd1": StableDiffusion}[family.name](family)
