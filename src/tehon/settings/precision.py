"""The number types of a training."""

from typing import Literal

from tehon.settings.section import Section


class PrecisionSettings(Section):
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    """The number type in which U-Net and text encoders compute. The adapter stays fp32 beside them. 16 bits take half
    the memory and, on a graphics card, much less time; bf16 has the range of fp32, fp16 needs its losses scaled."""

    full_fp16: bool = False
    """Train the adapter itself in fp16, with `mixed_precision` fp16. Saves a little memory and costs accuracy."""

    full_bf16: bool = False
    """Train the adapter itself in bf16, with `mixed_precision` bf16. Saves a little memory and costs accuracy."""

    base_storage: Literal["same", "fp16", "bf16", "fp8", "nf4"] = "same"
    """The number type in which the base model's layers lie in memory; each is turned into the computed type when it is
    used, which takes time. fp16 and bf16 halve fp32, fp8 takes a quarter of it and nf4 (4 bits) less than a sixth. fp8
    and nf4 round the base model coarsely."""

    base_storage_unet: bool = False
    """Let `base_storage` be for the U-Net alone, and leave the text encoders as they are."""

    @property
    def full(self) -> bool:
        """Whether the adapter is trained in the type in which the networks compute."""
        return self.full_fp16 or self.full_bf16
