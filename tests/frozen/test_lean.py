"""The lean U-Net against diffusers' own, on the twins."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tehon.adapters.adapter import attach
from tehon.adapters.lora import Lora
from tehon.frozen.convolution import FrozenConv2d, freeze_convolutions
from tehon.frozen.lean import make_lean


@contextmanager
def kept() -> Iterator[dict[int, int]]:
    """{where it lies: bytes} of all that autograd saves inside the block."""
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield found


def adapted(unet: Any) -> list[Tensor]:
    """LoRAs that change something on the attentions' layers, and their tensors."""
    torch.manual_seed(1)
    tensors: list[Tensor] = []
    for path, layer in unet.named_modules():
        if ".attentions." in path and isinstance(layer, nn.Linear):
            shapes = {"lora_down.weight": (4, layer.in_features), "lora_up.weight": (layer.out_features, 4)}
            adapter = Lora(layer, shapes, 4.0)
            for tensor in adapter.factors():
                nn.init.normal_(tensor, std=0.1)
                tensors.append(tensor)
            attach(adapter)
    return tensors


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_it_computes_the_same_and_keeps_less(name: str, twins: Any) -> None:
    plain = deepcopy(twins.networks(name)["unet"]).double()
    lean = deepcopy(plain)
    make_lean(lean)
    freeze_convolutions(lean, 0)
    torch.manual_seed(2)
    states = torch.randn(2, 7, plain.config.cross_attention_dim).double()
    added = {"text_embeds": torch.randn(2, 96).double(), "time_ids": torch.rand(2, 6)} if name == "sdxl" else None
    mask = torch.tensor([[True] * 5 + [False] * 2, [True] * 7])
    found: list[Any] = []
    for unet in (plain, lean):
        tensors = adapted(unet)
        noisy = torch.linspace(-2, 2, 2 * 4 * 16 * 24).view(2, 4, 16, 24).double()
        own = {one.untyped_storage().data_ptr() for one in unet.parameters()}
        with kept() as saved:
            out = unet(noisy, torch.tensor([10, 500]), states, encoder_attention_mask=mask, added_cond_kwargs=added)[0]
        gradients = torch.autograd.grad(out.square().mean(), tensors)
        activations = sum(size for place, size in saved.items() if place not in own)
        found.append((out.detach(), torch.cat([one.flatten() for one in gradients]), activations))
    (out, gradient, much), (same, own_gradient, less) = found
    assert (same - out).norm() < 1e-9 * out.norm()
    assert (own_gradient - gradient).norm() < 1e-6 * gradient.norm()
    assert less < 0.75 * much


def test_every_block_is_taken_over(twins: Any) -> None:
    unet = deepcopy(twins.networks("sdxl")["unet"])
    make_lean(unet)
    freeze_convolutions(unet, 0)
    names = {"ResnetBlock2D", "Transformer2DModel", "GEGLU", "LayerNorm", "GroupNorm"}
    blocks = [module for module in unet.modules() if type(module).__name__ in names]
    assert {type(module).__name__ for module in blocks} == names
    assert all("forward" in module.__dict__ for module in blocks)
    assert all(type(one) is FrozenConv2d for one in unet.modules() if isinstance(one, nn.Conv2d))
