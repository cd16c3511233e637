"""The pictures, their captions, and the sizes they are trained at."""

from typing import Annotated

from pydantic import Field

from tehon.settings.section import Section

Side = Annotated[int, Field(ge=8)]


class DataSettings(Section):
    folder: str
    """The parent of the picture folders, which are named like `10_cat`: ten repeats, class words `cat`."""

    resolution: Side | list[Side] | None = None
    """The largest training size in pixels, as one side or as [width, height]; with buckets it limits the area.
    Empty: the model's own size."""

    batch_size: int = Field(default=1, ge=1)
    """Pictures learned at once."""

    caption_extension: str = Field(default="", pattern=r'^(\.?[^./\\:*?"<>|\x00-\x1f]+)?$')
    """The extension of the caption files beside the pictures. Empty: `.caption`, and where there is none, `.txt`."""

    enable_bucket: bool = True
    """Sort pictures of different shapes into buckets. Off: every picture is scaled and cropped to the resolution."""

    bucket_no_upscale: bool = True
    """Make the buckets from the pictures' own sizes and never enlarge a picture."""

    bucket_reso_steps: int = Field(default=64, ge=8, multiple_of=8)
    """Bucket sides are multiples of this many pixels."""

    min_bucket_reso: int = Field(default=256, ge=8)
    """The shortest bucket side, where pictures may be enlarged."""

    max_bucket_reso: int = Field(default=1024, ge=8)
    """The longest bucket side, where pictures may be enlarged."""

    vae_batch_size: int = Field(default=0, ge=0)
    """Pictures encoded at once before the training; 0 means as many as the batch size."""
