"""What is written, where, and how."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section


class OutputSettings(Section):
    folder: str
    """The folder for the finished LoRA and the run's records; it is made when it does not exist."""

    name: str = Field(default="last", min_length=1, pattern=r'^[^/\\:*?"<>|\x00-\x1f]+$')
    """The name of the LoRA file, without its extension."""

    overwrite: bool = False
    """Replace a LoRA file of the same name. Off: such a file stops the start."""

    save_precision: Literal["float", "fp16", "bf16"] = "fp16"
    """The number type in the LoRA file. DoRA's lengths are always float, since rounding loses
    what they learned."""

    training_comment: str = ""
    """A text that is stored in the LoRA file and shown by programs that read it."""

    save_state_every_n_steps: int = Field(default=0, ge=0)
    """Save the run's whole state every so many steps, to resume from; 0 means only when the run is stopped."""
