"""When the loss on held-out pictures is measured, and what follows from it. `data` says which pictures are held out."""

from pydantic import Field

from tehon.settings.section import Section


class ValidationSettings(Section):
    every_n_epochs: int = Field(default=1, ge=0)
    """Measure the loss on held-out pictures at the end of every so many epochs, and after the last step; 0: not by
    epochs."""

    every_n_steps: int = Field(default=0, ge=0)
    """Measure it after every so many steps too; 0: not by steps."""

    stop_after: int = Field(default=0, ge=0)
    """End the training when so many measurements in a row have brought no lower loss; 0 means never. The LoRA is then
    the one of that last step."""
