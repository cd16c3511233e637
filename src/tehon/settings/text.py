"""How captions become what the U-Net is told."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section


class TextSettings(Section):
    max_token_length: Literal[75, 150, 225] = 75
    """The longest caption in tokens; what is longer is cut off."""

    no_token_padding: bool = False
    """Don't fill short captions with end marks."""

    clip_skip: int = Field(default=1, ge=1, le=12)
    """Which layer of the text encoder is used, counted from the end; 2 for models made for it, else 1."""

    weighted_captions: bool = False
    """Read `(word:1.2)` in captions as emphasis. Off: brackets are learned as they stand."""
