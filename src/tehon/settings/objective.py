"""What the training minimises."""

from pydantic import Field

from tehon.settings.section import Section


class ObjectiveSettings(Section):
    prior_loss_weight: float = Field(default=1.0, ge=0)
    """How much regularisation pictures count in the loss; a picture to learn counts 1."""

    masked_loss: bool = False
    """Count in the loss only what the masks show: those of `data.mask_folder`, or `data.alpha_mask`."""
