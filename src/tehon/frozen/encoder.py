"""A VAE's encoder on a CPU, where nothing is derived: convolutions as what is frozen can compute them, and blocks that
write over what nobody reads again, without what has no effect, as divisions by 1.

>>> make_quick(vae.encoder)
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from tehon.frozen.convolution import freeze_convolutions


def make_quick(encoder: nn.Module, most_bytes: int) -> None:
    """Shadows the forward of each block that is as the families' are; others are left alone. Transformed weights take
    at most so many bytes."""
    freeze_convolutions(encoder, most_bytes)
    for module in encoder.modules():
        if type(module) is ResnetBlock2D and _plain(module):
            module.__dict__["forward"] = partial(_resnet, module)


def _plain(block: Any) -> bool:
    sizes = block.upsample is None and block.downsample is None
    return sizes and isinstance(block.nonlinearity, nn.SiLU) and block.output_scale_factor == 1


def _resnet(block: Any, input_tensor: Tensor, temb: Tensor | None) -> Tensor:
    if temb is not None or torch.is_grad_enabled() or block.training:
        return type(block).forward(block, input_tensor, temb)
    h = block.conv1(F.silu(block.norm1(input_tensor), inplace=True))
    h = block.conv2(F.silu(block.norm2(h), inplace=True))
    shortcut = input_tensor if block.conv_shortcut is None else block.conv_shortcut(input_tensor)
    return h.add_(shortcut)
