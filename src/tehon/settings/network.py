"""The adapter that is trained."""

from pydantic import Field

from tehon.settings.section import Section


class NetworkSettings(Section):
    rank: int = Field(default=8, ge=1)
    """The width of each LoRA's middle; more learns more detail and makes a larger file."""

    alpha: float = Field(default=1.0, gt=0)
    """The LoRA works with the strength alpha / rank; equal to the rank means full strength."""
