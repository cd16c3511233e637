"""Base weights in narrow types: what they hold, that nothing wide is kept of them, and that adapters lie on them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tehon.adapters.adapter import base
from tehon.adapters.kinds import build
from tehon.catalog.detect import find_model
from tehon.families.family import behaviour_of
from tehon.families.packing import PackedConv2d, PackedLinear, pack, pack_layer

KINDS = ("fp16", "bf16", "fp8", "nf4")
ROUNDING = {"fp16": 2.0**-11, "bf16": 2.0**-8, "fp8": 2.0**-4}


def drawn(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * scale


def layers() -> list[nn.Linear | nn.Conv2d]:
    torch.manual_seed(1)
    return [nn.Linear(64, 96), nn.Linear(64, 32, bias=False), nn.Conv2d(32, 64, 3, 2, 1), nn.Conv2d(64, 64, 1)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nf4"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 30.0])
def test_numbers_keep_their_leading_digits(kind: str, scale: float) -> None:
    """Within half a step of the type, for small weights too: those of a U-Net are far below 2⁻⁶, where e4m3 by itself
    has fewer digits and in the end none."""
    weight = drawn(48, 80, scale=0.02 * scale)
    layer: Any = nn.Linear(80, 48)
    pack_layer(layer, weight, kind, torch.float32)
    error = (layer.weight - weight).abs()
    smallest = {"fp16": torch.tensor(2.0**-25)}.get(kind, weight.abs().amax(1, keepdim=True) * 2.0**-17)
    assert (error <= weight.abs() * ROUNDING[kind] + smallest).all()
    plain = weight.to(torch.float8_e4m3fn).float() if kind == "fp8" else None
    assert plain is None or scale > 1 or error.mean() < 0.7 * (plain - weight).abs().mean()


def test_four_bits_are_bitsandbytes_own() -> None:
    functional: Any = pytest.importorskip("bitsandbytes.functional")
    weight = drawn(64, 32, 3, 3, scale=0.02)
    layer: Any = nn.Conv2d(32, 64, 3)
    pack_layer(layer, weight, "nf4", torch.float32)
    assert torch.equal(layer.weight, functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type="nf4")))
    assert 0 < (layer.weight - weight).norm() / weight.norm() < 0.12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(4))
def test_outputs_and_gradients_are_those_of_the_unpacked_weight(kind: str, number: int) -> None:
    layer: Any = layers()[number]
    pack_layer(layer, layer.weight.detach(), kind, torch.float32)
    twin = layers()[number].requires_grad_(False)
    twin.weight.copy_(layer.weight)
    x = drawn(2, 64) if isinstance(layer, nn.Linear) else drawn(2, twin.weight.shape[1], 9, 8)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = layer(one), twin(other)
    assert torch.equal(ours, theirs)
    pull = torch.ones_like(ours)
    assert torch.allclose(
        torch.autograd.grad(ours, one, pull)[0], torch.autograd.grad(theirs, other, pull)[0], rtol=1e-5, atol=1e-6
    )
    twin.bias = None
    assert torch.allclose(layer.unbiased(x), twin(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_for_the_backward(kind: str) -> None:
    kept: list[Tensor] = []
    layer: Any = nn.Sequential(*(nn.Linear(64, 64) for _ in range(3))).requires_grad_(False)
    for one in layer:
        pack_layer(one, one.weight.detach(), kind, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(drawn(2, 64).requires_grad_()).sum().backward()
    assert kept == []


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "lora": {"lora_down.weight": (4, 64), "lora_up.weight": (96, 4)},
    "dora": {"lora_down.weight": (4, 64), "lora_up.weight": (96, 4), "dora_scale": (96, 1)},
    "dora of inputs": {"lora_down.weight": (4, 64), "lora_up.weight": (96, 4), "dora_scale": (1, 64)},
    "loha": {"hada_w1_a": (96, 4), "hada_w1_b": (4, 64), "hada_w2_a": (96, 4), "hada_w2_b": (4, 64)},
    "lokr": {"lokr_w1": (4, 4), "lokr_w2": (24, 16)},
    "ia3": {"weight": (96,), "on_input": ()},
}


@pytest.mark.parametrize("name", SHAPES)
def test_adapters_lie_on_packed_layers_as_on_others(name: str) -> None:
    layer: Any = layers()[0].requires_grad_(False)
    pack_layer(layer, layer.weight.detach(), "fp8", torch.float32)
    twin = layers()[0].requires_grad_(False)
    twin.weight.copy_(layer.weight)
    outputs: list[Tensor] = []
    for one in (layer, twin):
        adapter = build(one, SHAPES[name], 4.0)
        adapter.initialise(torch.Generator().manual_seed(2))
        with torch.no_grad():
            for tensor in adapter.tensors.values():
                tensor.add_(drawn(*tensor.shape, scale=0.1))
        outputs.append(adapter.forward(drawn(2, 5, 64)))
        assert (outputs[-1] - base(one, drawn(2, 5, 64))).abs().max() > 1e-3
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_packed_while_a_model_is_read_and_ends_are_not(kind: str) -> None:
    """Read so, it is what packing it afterwards makes of it."""
    model = find_model("demo")
    behaviour, cpu = behaviour_of(model.family), torch.device("cpu")
    read = behaviour.load(model, torch.float32, cpu, {"unet": kind}).unet
    later = behaviour.load(model, torch.float32, cpu)
    pack(later.unet, kind, torch.float32)
    packed = {path: layer for path, layer in read.named_modules() if isinstance(layer, PackedLinear | PackedConv2d)}
    every = {path for path, layer in read.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    assert every - packed.keys() == {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert all(torch.equal(layer.weight, later.unet.get_submodule(path).weight) for path, layer in packed.items())
    assert sum(parameter.numel() for parameter in read.parameters()) < 100_000
