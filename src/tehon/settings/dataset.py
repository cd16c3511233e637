"""The pictures, their captions, and the sizes they are trained at.

All of it may differ between several sets of pictures: each table of `sets` is this section once more, and what it
leaves out it takes from here.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from tehon.settings.section import Section

Side = Annotated[int, Field(ge=8)]
Share = Annotated[float, Field(ge=0, le=1)]
EXTENSION = r'^(\.?[^./\\:*?"<>|\x00-\x1f]+)?$'


class DataSettings(Section):
    folder: str = ""
    """The parent of the picture folders, which are named like `10_cat`: ten repeats, class words `cat`."""

    repeats: int = Field(default=0, ge=0)
    """How often every picture is learned in an epoch, where `folder` holds the pictures itself; 0: its children are
    the picture folders, and their names say it."""

    class_words: str = ""
    """With `repeats`: the caption of pictures that have none of their own."""

    metadata_file: str = ""
    """A JSON or JSONL file with the captions of the pictures, as sd-scripts' tools write it."""

    sets: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """Several sets of pictures with settings of their own: tables with the names of this section. A set takes what it
    leaves out from here."""

    dataset_config: str = ""
    """A data set configuration of sd-scripts (TOML or JSON), used instead of `folder` and `sets`."""

    reg_folder: str = ""
    """The parent of folders with regularisation pictures: what the model should keep. They are named like those
    of `folder` and read as often in all as the pictures to learn."""

    is_reg: bool = False
    """The pictures of this set are regularisation pictures."""

    validation_split: float = Field(default=0.0, ge=0, lt=1)
    """The share of pictures that is held out from training. The loss on them, always with the same noise, is measured
    after every epoch and stands in the run's metrics."""

    validation_folder: str = ""
    """A folder of pictures, laid out as `folder`, to measure that loss on."""

    resolution: Side | list[Side] | None = None
    """The largest training size in pixels, as one side or as [width, height]; with buckets it limits the area.
    Empty: the model's own size."""

    batch_size: int = Field(default=1, ge=1)
    """Pictures learned at once."""

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

    resize_interpolation: Literal["auto", "lanczos", "area", "bicubic", "bilinear", "nearest"] = "auto"
    """How pictures are scaled; auto takes area to shrink and lanczos to enlarge."""

    random_crop: bool = False
    """Cut a random piece out of the scaled picture at each reading instead of its middle. Not with cached latents."""

    flip_aug: bool = False
    """Mirror half of all readings left to right; for subjects that look the same mirrored."""

    color_aug: bool = False
    """Shift hue or brightness a little in a third of all readings. Not with cached latents."""

    alpha_mask: bool = False
    """Use the pictures' transparency as mask: what is transparent does not count in the loss."""

    mask_folder: str = ""
    """A folder of masks named as the pictures are: what is black in a mask does not count in the loss."""

    background: str = "white"
    """The colour behind transparent pictures, as a name or like #8090a0."""

    caption_extension: str = Field(default="", pattern=EXTENSION)
    """The extension of the caption files beside the pictures. Empty: `.caption`, and where there is none, `.txt`."""

    caption_prefix: str = ""
    """Text in front of every caption."""

    caption_suffix: str = ""
    """Text behind every caption."""

    enable_wildcard: bool = False
    """Take one line of a caption file at random, and one of the alternatives in `{red|green|blue}`."""

    caption_separator: str = Field(default=",", min_length=1)
    """What stands between the tags of a caption."""

    secondary_separator: str = ""
    """What stands inside a tag that is kept together when tags are shuffled or dropped; it becomes the separator."""

    shuffle_caption: bool = False
    """Put the tags of a caption in a new order at each reading."""

    keep_tokens: int = Field(default=0, ge=0)
    """How many tags at the start of a caption stay where they are when tags are shuffled or dropped."""

    keep_tokens_separator: str = ""
    """A mark in the caption, like `|||`: tags before its first and behind its second place stay where they are. The
    mark itself is not learned."""

    caption_tag_dropout_rate: Share = 0.0
    """The share of tags that is left out at each reading, at random."""

    caption_dropout_rate: Share = 0.0
    """The share of readings that go without caption, at random."""

    caption_dropout_every_n_epochs: int = Field(default=0, ge=0)
    """Every so many epochs one goes without captions; 0 means none."""

    missing_captions: Literal["class_words", "file_name", "skip", "stop"] = "class_words"
    """What happens with a picture to learn that has no caption: its folder's words caption it, or its own name with
    blanks for underscores, it is left out, or nothing starts."""

    broken_pictures: Literal["stop", "skip"] = "stop"
    """What happens with a picture that cannot be read, is too small, or lacks its mask: nothing starts, or it is left
    out."""
