"""The adapter that is trained."""

from typing import Annotated, Literal

from pydantic import Field

from tehon.settings.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0)]
Numbers = str | float | list[float]
WholeNumbers = str | int | list[int]
Kind = Literal["lora", "locon", "loha", "lokr", "dylora", "lora_fa", "ia3"]


class NetworkSettings(Section):
    kind: Kind = "lora"
    """What is trained: lora (Standard); locon, which is lora with the 3x3 convolutions; loha; lokr; dylora, which can
    be cut to any smaller rank afterwards; lora_fa, whose down matrix stays as it was drawn; ia3, a few scales per
    layer."""

    rank: int = Field(default=8, ge=1)
    """The width of each LoRA's middle; more learns more detail and makes a larger file."""

    alpha: float = Field(default=1.0, gt=0)
    """The LoRA works with the strength alpha / rank; equal to the rank means full strength."""

    rs_lora: bool = False
    """Work with the strength alpha / √rank instead, so that large ranks learn as fast as small ones."""

    conv_rank: Annotated[int, Field(ge=0)] | None = None
    """The rank of the 3x3 convolutions (LoCon); with it the Res blocks' small layers are trained too, with `rank`. 0:
    no convolutions. Empty: none either, but for locon the rank."""

    conv_alpha: Ratio | None = None
    """The alpha of the 3x3 convolutions. Empty: alpha."""

    init: Literal["kaiming", "gaussian"] = "kaiming"
    """How the down matrices start: kaiming as in kohya and peft; gaussian with the deviation 1 / rank as in diffusers'
    scripts. The up matrices start at zero."""

    dora: bool = False
    """Train the length of weights apart from their direction (DoRA)."""

    dora_side: Literal["input", "output"] = "input"
    """Whose lengths DoRA trains. A1111, ComfyUI and Forge draw with lengths of inputs as they were trained; with those
    of outputs, as peft trains them, A1111 goes wrong and the others are nearly right."""

    tucker: bool = False
    """Take the 3x3 kernels apart as well (Tucker), which makes the convolutions' part of the file much smaller."""

    use_scalar: bool = False
    """Train one more factor for each layer, which starts at zero in place of a matrix; the file takes it up into its
    tensors."""

    factor: int = Field(default=-1, ge=-1)
    """LoKr: the size of the small factor of each layer; a size that it does not divide takes the nearest below. -1
    makes both factors about as large."""

    decompose_both: bool = False
    """LoKr: make the small factor low-rank too, where that saves numbers."""

    full_matrix: bool = False
    """LoKr: train both factors whole; rank and alpha then have no effect."""

    unit: int = Field(default=1, ge=1)
    """DyLoRA: the ranks that can be cut off are multiples of this; the rank has to be one too."""

    dropout: Share = 0.0
    """The share of numbers between down and up that are left out at random at each step."""

    rank_dropout: Share = 0.0
    """The share of ranks that are left out at random for each picture; with loha the same for all pictures of a
    step."""

    module_dropout: Share = 0.0
    """The share of layers whose adapter is left out at random for each picture."""

    scale_weight_norms: float = Field(default=0.0, ge=0)
    """The largest norm that the change to a layer may have; what grows beyond is scaled back after each step. 0 means
    no limit; 1 is usual."""

    loraplus_lr_ratio: Ratio = 1.0
    """LoRA+: how many times faster than down the up matrices learn; 16 is usual, 1 means as fast."""

    loraplus_unet_lr_ratio: Ratio | None = None
    """The same for the U-Net alone. Empty: as loraplus_lr_ratio."""

    loraplus_text_encoder_lr_ratio: Ratio | None = None
    """The same for the text encoder alone. Empty: as loraplus_lr_ratio."""

    down_lr_weight: Numbers = ""
    """Factors on the U-Net's learning rate for the blocks IN00 to IN11, 12 numbers; or sine, cosine, linear,
    reverse_linear or zeros, with an addend if wanted, as `sine+0.2`. Blocks at 0 get no adapter. Empty: 1."""

    mid_lr_weight: Numbers = ""
    """The factor on the U-Net's learning rate for the block MID."""

    up_lr_weight: Numbers = ""
    """As `down_lr_weight`, for the blocks OUT00 to OUT11."""

    block_lr_zero_threshold: float = Field(default=0.0, ge=0)
    """Blocks whose factor in the three lists is not above this get no adapter."""

    block_dims: WholeNumbers = ""
    """The rank of each block of the U-Net: 25 numbers for IN00 to IN11, MID, OUT00 to OUT11; 0 leaves a block out.
    Empty: the rank."""

    block_alphas: Numbers = ""
    """The alpha of each block of the U-Net, 25 numbers. Empty: alpha."""

    conv_block_dims: WholeNumbers = ""
    """The rank of the 3x3 convolutions of each block, 25 numbers; 0 leaves a block's out. Empty: conv_rank."""

    conv_block_alphas: Numbers = ""
    """The alpha of the 3x3 convolutions of each block, 25 numbers. Empty: conv_alpha."""

    include: str = ""
    """Only layers whose name fits this regular expression somewhere are trained; `tehon plan --modules` shows the
    names. Empty: all."""

    exclude: str = ""
    """Layers whose name fits this regular expression somewhere are not trained. Empty: none."""

    weights: str = ""
    """A LoRA file to start from; it is not changed. Empty: start new."""

    base_weights: str | list[str] = ""
    """A LoRA file, or a list of them, that becomes part of the model before the training; what is trained then comes
    on top of them. Empty: none."""

    base_weights_multiplier: float | list[float] = 1.0
    """The strength of the files in `base_weights`: one for all, or a list with one for each."""

    dim_from_weights: bool = False
    """Take layers, ranks and alphas from the file in `weights`; rank, alpha and their block lists are then not used."""
