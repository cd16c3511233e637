"""How far the weights move at each step."""

from typing import Annotated, Literal

from pydantic import Field

from tehon.settings.section import Section

Rate = Annotated[float, Field(ge=0)]
ScheduleName = Literal["constant", "constant_with_warmup", "cosine", "cosine_with_restarts", "linear", "polynomial"]


class OptimizerSettings(Section):
    learning_rate: Rate = 1e-4
    """How far weights move per step. The U-Net uses it when it has no rate of its own."""

    unet_lr: Rate | None = None
    """The U-Net's learning rate; 0 leaves the U-Net out. Empty: the learning rate."""

    text_encoder_lr: Rate = 5e-5
    """The text encoder's learning rate; 0 leaves the text encoder out."""

    lr_scheduler: ScheduleName = "cosine"
    """The shape of the learning rate over the run."""

    lr_warmup: float = Field(default=10.0, ge=0, le=100)
    """How much of the run the rate climbs from zero, in percent of all steps; `constant` has no warm-up."""

    lr_scheduler_num_cycles: int = Field(default=1, ge=1)
    """How often cosine_with_restarts and polynomial start again."""

    lr_scheduler_power: float = Field(default=1.0, gt=0)
    """How bent polynomial is; 1 is a straight line."""

    weight_decay: float = Field(default=0.01, ge=0)
    """How strongly AdamW pulls weights back to zero."""

    max_grad_norm: float = Field(default=1.0, ge=0)
    """The longest gradient that is used as it is; longer ones are shortened to this. 0 means no limit."""
