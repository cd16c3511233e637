"""The lean U-Net against diffusers' own, on the twins."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from tehon.adapters.adapter import attach
from tehon.adapters.lora import Lora
from tehon.frozen import pointwise
from tehon.frozen.convolution import FrozenConv2d, freeze_convolutions
from tehon.frozen.lean import make_lean
from tehon.training.checkpointing import compute_again


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


def measured(unet: Any) -> tuple[Tensor, Tensor, int]:
    """The output, the gradients of LoRAs, and how many bytes of activations were kept for them."""
    dtype, tensors = unet.dtype, adapted(unet)
    torch.manual_seed(2)
    states = torch.randn(2, 7, unet.config.cross_attention_dim).to(dtype)
    sdxl = unet.config.addition_embed_type is not None
    added = {"text_embeds": torch.randn(2, 96).to(dtype), "time_ids": torch.rand(2, 6)} if sdxl else None
    mask = torch.tensor([[True] * 5 + [False] * 2, [True] * 7])
    noisy = torch.linspace(-2, 2, 2 * 4 * 16 * 24).view(2, 4, 16, 24).to(dtype)
    own = {one.untyped_storage().data_ptr() for one in unet.parameters()}
    with kept() as saved:
        out = unet(noisy, torch.tensor([10, 500]), states, encoder_attention_mask=mask, added_cond_kwargs=added)[0]
    gradients = torch.autograd.grad(out.square().mean(), tensors)
    activations = sum(size for place, size in saved.items() if place not in own)
    return out.detach(), torch.cat([one.flatten() for one in gradients]), activations


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_it_computes_the_same_and_keeps_less(name: str, twins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "pays", lambda device: True)  # as on a graphics card
    plain = deepcopy(twins.networks(name)["unet"]).double()
    lean = deepcopy(plain)
    make_lean(lean)
    freeze_convolutions(lean, 0)
    (out, gradient, much), (same, own_gradient, less) = measured(plain), measured(lean)
    assert (same - out).norm() < 1e-9 * out.norm()
    assert (own_gradient - gradient).norm() < 1e-6 * gradient.norm()
    assert less < 0.75 * much


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_on_a_cpu_in_32_bits_too(name: str, twins: Any) -> None:
    plain = deepcopy(twins.networks(name)["unet"])
    lean = deepcopy(plain)
    freeze_convolutions(lean, 0)
    make_lean(lean)
    (out, gradient, much), (same, own_gradient, less) = measured(plain), measured(lean)
    assert (same - out).norm() < 1e-5 * out.norm()
    assert (own_gradient - gradient).norm() < 1e-5 * gradient.norm()
    assert less < 0.85 * much


class Alone(nn.Module):
    """A Res block, whose paths are as in a network."""

    def __init__(self) -> None:
        super().__init__()
        self.block = ResnetBlock2D(in_channels=64, out_channels=96, temb_channels=32, groups=32)
        self.requires_grad_(False)
        for norm in (self.block.norm1, self.block.norm2):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.block(x, temb)

    def derived(self, paths: Sequence[str], again: bool) -> list[Tensor]:
        """The output, and the gradients of x, temb and of LoRAs on layers of the block."""
        torch.manual_seed(1)
        tensors: list[Tensor] = []
        for path in paths:
            layer: Any = self.block.get_submodule(path)
            down, up = (4, *layer.weight.shape[1:]), (len(layer.weight), 4, 1, 1)
            adapter = Lora(layer, {"lora_down.weight": down, "lora_up.weight": up[: len(down)]}, 4.0)
            for tensor in adapter.factors():
                nn.init.normal_(tensor, std=0.1)
                tensors.append(tensor)
            attach(adapter)
        if again:
            compute_again(self, ["block"])
        x, temb = torch.randn(2, 64, 24, 24).requires_grad_(), torch.randn(2, 32).requires_grad_()
        out = self(x, temb)
        pull = torch.linspace(-1, 2, out.numel()).view_as(out)
        return [out.detach(), *torch.autograd.grad(out, [x, temb, *tensors], pull)]


LAYERS = ["conv1", "conv2", "time_emb_proj", "conv_shortcut"]


@pytest.mark.parametrize("paths", [[], *([one] for one in LAYERS), LAYERS], ids=lambda paths: "+".join(paths) or "none")
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("transformed", [0, 2**30])
def test_a_res_block_with_adapters_in_it(paths: list[str], again: bool, transformed: int) -> None:
    plain = Alone()
    lean = deepcopy(plain)
    freeze_convolutions(lean, transformed)
    make_lean(lean)
    for found, wanted in zip(lean.derived(paths, again), plain.derived(paths, again), strict=True):
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_norms_that_learn_are_left_alone() -> None:
    network = Alone()
    network.block.norm2.requires_grad_(True)
    make_lean(network)
    assert "forward" not in network.block.__dict__
    assert "forward" in network.block.norm1.__dict__
    assert "forward" not in network.block.norm2.__dict__


def test_every_block_is_taken_over(twins: Any) -> None:
    unet = deepcopy(twins.networks("sdxl")["unet"])
    make_lean(unet)
    freeze_convolutions(unet, 0)
    names = {"ResnetBlock2D", "Transformer2DModel", "GEGLU", "LayerNorm", "GroupNorm"}
    blocks = [module for module in unet.modules() if type(module).__name__ in names]
    assert {type(module).__name__ for module in blocks} == names
    assert all("forward" in module.__dict__ for module in blocks)
    assert all(type(one) is FrozenConv2d for one in unet.modules() if isinstance(one, nn.Conv2d))
