"""The families of models, one row each: what is true of every member and never changes.

>>> FAMILIES["sd1"].stride
8
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Facts of one family.

    `adapter_roots` maps the prefix of kohya's key names to the part whose layers carry it. `text_rate_roots` are
    those among them that train with the text encoder's learning rate.
    """

    name: str
    native_side: int
    latent_channels: int
    stride: int
    token_limit: int
    adapter_roots: dict[str, str]
    text_rate_roots: tuple[str, ...]
    base_version: str
    architecture: str


FAMILIES = {
    "sd1": Family(
        name="sd1",
        native_side=512,
        latent_channels=4,
        stride=8,
        token_limit=75,
        adapter_roots={"lora_te": "text_encoder", "lora_unet": "unet"},
        text_rate_roots=("lora_te",),
        base_version="sd_v1",
        architecture="stable-diffusion-v1/lora",
    ),
}
