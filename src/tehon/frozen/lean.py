"""A U-Net of diffusers with less between its matrix products, most of which is moving numbers.

The same networks and the same names; blocks compute in our words, with channels last in every picture, with operations
that do several things in one pass (`tehon.frozen.pointwise`), and without what has no effect, as divisions by 1.

>>> make_lean(unet)
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from tehon.frozen.convolution import FrozenConv2d
from tehon.frozen.pointwise import gate, layer_norm, norm_silu, normed_beside, sum_with_bias


def make_lean(unet: nn.Module) -> None:
    """Shadows the forward of each block that is as the families' are; others are left alone."""
    ways: tuple[tuple[type, Callable[[Any], bool], Callable[..., Any]], ...] = (
        (ResnetBlock2D, _plain_resnet, _resnet),
        (Transformer2DModel, _plain_frame, _frame),
        (BasicTransformerBlock, _plain_block, _block),
        (GEGLU, lambda _: True, _gated),
        (nn.LayerNorm, _frozen, layer_norm),
        (nn.GroupNorm, _frozen, partial(norm_silu, silu=False)),
    )
    for module in unet.modules():
        for kind, fits, way in ways:
            if type(module) is kind and fits(module):
                module.__dict__["forward"] = partial(way, module)


def _frozen(norm: Any) -> bool:
    return norm.weight is not None and norm.bias is not None and not norm.weight.requires_grad


def _plain_resnet(block: Any) -> bool:
    if not _frozen(block.norm1) or not _frozen(block.norm2) or block.skip_time_act:
        return False
    sizes = block.upsample is None and block.downsample is None
    kinds = block.time_embedding_norm == "default" and isinstance(block.nonlinearity, nn.SiLU)
    return sizes and kinds and block.output_scale_factor == 1 and block.time_emb_proj is not None


def _resnet(block: Any, input_tensor: Tensor, temb: Tensor) -> Tensor:
    h, bias = _convolved(block.conv1, norm_silu(block.norm1, input_tensor))
    shift = block.time_emb_proj(block.nonlinearity(temb))
    shift = shift if bias is None else shift + bias
    if shift.requires_grad:
        h, shift = h + shift[:, :, None, None], None
    h = block.dropout(norm_silu(block.norm2, h, shift))
    shortcut = input_tensor if block.conv_shortcut is None else block.conv_shortcut(input_tensor)
    if h.device.type == "cpu":  # where convolutions add a bias on the way
        return shortcut + block.conv2(h)
    return sum_with_bias(shortcut, *_convolved(block.conv2, h))


def _convolved(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """What a layer makes of x, and a bias that is still to be added, in a pass that is made anyway."""
    if isinstance(layer, FrozenConv2d) and "forward" not in layer.__dict__:
        return layer.convolved(x, None), layer.bias
    return layer(x), None


def _plain_block(block: Any) -> bool:
    return block.norm_type == "layer_norm" and block.pos_embed is None and block._chunk_size is None


def _block(
    block: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    **_options: Any,
) -> Tensor:
    normed, x = normed_beside(block.norm1, hidden_states)
    states = encoder_hidden_states if block.only_cross_attention else None
    x = x + block.attn1(normed, encoder_hidden_states=states, attention_mask=attention_mask)
    if block.attn2 is not None:
        normed, x = normed_beside(block.norm2, x)
        told = {"encoder_hidden_states": encoder_hidden_states, "attention_mask": encoder_attention_mask}
        x = x + block.attn2(normed, **told)
    normed, x = normed_beside(block.norm3, x)
    return x + block.ff(normed)


def _plain_frame(frame: Any) -> bool:
    return frame.is_input_continuous


def _frame(
    frame: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None = None,
    attention_mask: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    **_options: Any,
) -> tuple[Tensor]:
    size = hidden_states.shape[2:]
    x = frame.norm(hidden_states)
    x = frame.proj_in(_places(x)) if frame.use_linear_projection else _places(frame.proj_in(x))
    told = {"encoder_hidden_states": encoder_hidden_states, "encoder_attention_mask": encoder_attention_mask}
    for block in frame.transformer_blocks:
        x = block(x, attention_mask=attention_mask, **told)
    x = _picture(frame.proj_out(x), size) if frame.use_linear_projection else frame.proj_out(_picture(x, size))
    return (x + hidden_states,)


def _places(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h w, c), a view where channels come last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _picture(x: Tensor, size: torch.Size) -> Tensor:
    return x.unflatten(1, tuple(size)).permute(0, 3, 1, 2)


def _gated(module: Any, hidden_states: Tensor) -> Tensor:
    return gate(module.proj(hidden_states))
