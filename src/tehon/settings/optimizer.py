"""How far the weights move at each step."""

from typing import Annotated, Literal

from pydantic import Field

from tehon.settings.section import Section

Rate = Annotated[float, Field(ge=0)]
ScheduleName = Literal[
    "constant",
    "constant_with_warmup",
    "cosine",
    "cosine_with_restarts",
    "linear",
    "polynomial",
    "cosine_with_min_lr",
    "inverse_sqrt",
    "warmup_stable_decay",
    "rex",
    "piecewise_constant",
    "adafactor",
]


class OptimizerSettings(Section):
    name: str = ""
    """The rule by which weights move: a name like AdamW, Lion or Prodigy, or the import path of a class. Empty:
    AdamW8bit where bitsandbytes is installed and runs, else AdamW."""

    arguments: str = ""
    """More arguments for the optimizer, like `weight_decay=0.1 betas=0.9,0.99`; docs/optimizers.md lists them."""

    learning_rate: Rate = 1e-4
    """How far weights move per step. The U-Net uses it when it has no rate of its own."""

    unet_lr: Rate | None = None
    """The U-Net's learning rate; 0 leaves the U-Net out. Empty: the learning rate."""

    text_encoder_lr: Rate = 5e-5
    """The text encoder's learning rate; 0 leaves the text encoder out."""

    text_encoder_2_lr: Rate | None = None
    """The learning rate of SDXL's second text encoder; 0 leaves it out. Empty: as text_encoder_lr."""

    stop_text_encoder_training: float = Field(default=0.0, ge=0, le=100)
    """When the text encoders stop learning, in percent of all steps; the U-Net learns on, faster. 0 means never."""

    lr_scheduler: ScheduleName = "cosine"
    """The shape of the learning rate over the run; `adafactor` is what Adafactor does when it finds its own rates."""

    lr_warmup: float = Field(default=10.0, ge=0, le=100)
    """How long the rate climbs from zero, in percent of all steps; `constant`,
    `piecewise_constant` and `adafactor` don't climb."""

    lr_warmup_steps: int = Field(default=0, ge=0)
    """How many steps the rate climbs from zero; 0 leaves it to `lr_warmup`."""

    lr_scheduler_num_cycles: int = Field(default=1, ge=1)
    """How often cosine_with_restarts, polynomial and cosine_with_min_lr run from top to bottom."""

    lr_scheduler_power: float = Field(default=1.0, gt=0)
    """How bent polynomial is; 1 is a straight line."""

    lr_scheduler_min_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    """The share of the rate at which cosine_with_min_lr and warmup_stable_decay end."""

    lr_decay: float = Field(default=10.0, ge=0, le=100)
    """How long warmup_stable_decay falls at the end, in percent of all steps."""

    lr_scheduler_timescale: int = Field(default=0, ge=0)
    """In how many steps inverse_sqrt falls to 0.7; 0 means the warm-up's length, or 10000 without one."""

    lr_scheduler_pieces: str = ""
    """The pieces of piecewise_constant: `1:300,0.1:600,0.01` is the full rate to step 300, a tenth to step 600, a
    hundredth to the end."""

    max_grad_norm: float = Field(default=1.0, ge=0)
    """The longest gradient that is used as it is; longer ones are shortened to this. 0 means no limit."""
