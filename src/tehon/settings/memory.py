"""What saves memory and leaves the result as it is, but for rounding."""

from typing import Literal

from tehon.settings.section import Section


class MemorySettings(Section):
    gradient_checkpointing: Literal["off", "large", "whole"] = "off"
    """Compute parts of the networks again for the gradients instead of keeping what they computed. `whole`: all blocks,
    for the least memory; `large`: those alone that keep the most, for less time."""

    attention: Literal["auto", "sdpa", "xformers", "mem_eff_attn"] = "auto"
    """How attention is computed: `sdpa` by PyTorch; `xformers` by that package; `mem_eff_attn` piece by piece, with the
    least memory and on every device. `auto` takes the fastest that runs here."""
