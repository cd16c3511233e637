"""The families of models, one row each: what is true of every member and never changes.

>>> FAMILIES["sd1"].stride
8
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Facts of one family.

    `adapter_roots` maps the prefix of kohya's key names to the part whose layers carry it, `adapter_inside` to the
    classes of modules in which Linear and 1x1 Conv2d layers get an adapter. `text_rate_roots` are the prefixes that
    train with the text encoder's learning rate.
    """

    name: str
    native_side: int
    latent_channels: int
    stride: int
    token_limit: int
    adapter_roots: dict[str, str]
    adapter_inside: dict[str, frozenset[str]]
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
        adapter_inside={
            "lora_te": frozenset(("CLIPAttention", "CLIPMLP")),
            "lora_unet": frozenset(("Transformer2DModel",)),
        },
        text_rate_roots=("lora_te",),
        base_version="sd_v1",
        architecture="stable-diffusion-v1/lora",
    ),
}
