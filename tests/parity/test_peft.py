"""The same weights in peft's adapters: the same loss on the demo model or a smaller one and the same gradient of every
tensor.

Both compute in float64. In float32 the gradients of a text encoder's queries and keys, small differences of large
numbers, are off by up to 8e-5 of their length in either, so that nothing closer could be asked of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from tehon.adapters.adapter import attach, detach
from tehon.adapters.kinds import build
from tehon.catalog.kinds import Form, tensor_shapes
from tehon.diffusion.losses import squared_error
from tehon.diffusion.noising import add_noise
from tehon.training.assemble import Trainer
from tehon.training.attach import named_layers


def loss_of(trainer: Trainer, unet: Any, text_encoder: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    clean, noise = (torch.randn(2, 4, 16, 16, generator=generator, dtype=unet.dtype) for _ in range(2))
    times = torch.tensor([100, 700])
    captions = ["a red star", "mofu on a mint background"]
    ids = trainer.parts.tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt").input_ids
    text = text_encoder(ids).last_hidden_state
    noisy = add_noise(clean, noise, trainer.parts.alphas, times)
    return squared_error(unet(noisy, times, text).sample, noise).mean()


def in_double(trainer: Trainer) -> Trainer:
    """The same networks and adapters in float64, with gradients of their own."""
    for network in (trainer.parts.unet, trainer.parts.text_encoder):
        network.double()
    for under in trainer.adapters.values():
        for adapter in under.values():
            for tensor in adapter.tensors.values():
                tensor.data, tensor.grad = tensor.data.double(), None
    return trainer


def lora_config(paths: list[str], dora: bool) -> Any:
    return peft.LoraConfig(r=2, lora_alpha=1.0, target_modules=paths, lora_dropout=0.0, use_dora=dora)


PARTS = {"lora_down.weight": "lora_A", "lora_up.weight": "lora_B", "dora_scale": "lora_magnitude_vector"}


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ({}, 264),
        ({"kind": "locon"}, 97),
        ({"dora": True, "dora_side": "output"}, 66),
        ({"dora": True, "dora_side": "output", "conv_rank": 2}, 97),
    ],
    ids=["lora", "locon", "dora", "dora on convolutions"],
)
def test_loss_and_gradients_are_those_of_peft(
    tree: dict[str, Any], nano: Path, stir: Callable[[dict[str, Any]], Trainer], network: dict[str, Any], layers: int
) -> None:
    if layers != 264:
        tree["model"] = {"path": str(nano)}
    tree["network"] |= network
    trainer = in_double(stir(tree))
    parts = trainer.parts
    ours = loss_of(trainer, parts.unet, parts.text_encoder)
    ours.backward()
    path_of = {
        prefix: {layer: path for path, layer in root.named_modules()}
        for prefix, root in trainer.behaviour.roots(parts).items()
    }
    named = named_layers(trainer.behaviour, parts)
    for under in trainer.adapters.values():
        for adapter in under.values():
            detach(adapter)
    wrapped: dict[str, Any] = {}
    theirs: dict[str, dict[str, nn.Parameter]] = {}
    for prefix, root in trainer.behaviour.roots(parts).items():
        paths = {name: path_of[prefix][named[prefix][name]] for name in trainer.adapters[prefix]}
        config = lora_config(list(paths.values()), bool(network.get("dora")))
        wrapped[prefix] = peft.get_peft_model(root, config)  # type: ignore[arg-type]
        for name, path in paths.items():
            module = wrapped[prefix].base_model.model.get_submodule(path)
            adapter = trainer.adapters[prefix][name]
            theirs[name] = {key: getattr(module, PARTS[key])["default"].weight for key in adapter.tensors}
            with torch.no_grad():
                for key, tensor in adapter.tensors.items():
                    theirs[name][key].copy_(tensor.view(theirs[name][key].shape))
    other = loss_of(trainer, wrapped["lora_unet"], wrapped["lora_te"])
    other.backward()

    assert torch.allclose(ours, other, rtol=1e-5 if "dora" in network else 1e-9)
    assert len(theirs) == layers
    for under in trainer.adapters.values():
        for name, adapter in under.items():
            for key, mine in adapter.tensors.items():
                foreign = theirs[name][key]
                assert mine.grad is not None
                assert foreign.grad is not None
                difference = (mine.grad.flatten() - foreign.grad.flatten()).norm() / foreign.grad.norm()
                assert difference < (1e-4 if "dora" in network else 1e-9), (name, key)


@pytest.mark.parametrize("kernel", [(), (3, 3)], ids=["linear", "conv 3x3"])
@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_loha_and_lokr_are_those_of_peft_live_and_merged(kind: str, kernel: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 40, 3, padding=1) if kernel else nn.Linear(24, 40)
    x = torch.randn(2, 24, 6, 6) if kernel else torch.randn(2, 5, 24)
    layer.requires_grad_(False)
    adapter = build(layer, tensor_shapes(kind, tuple(layer.weight.shape), 2, Form(factor=4)), 3.0)
    adapter.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.add_(0.2 * torch.randn(tensor.shape))
    attach(adapter)
    ours = layer(x)
    detach(adapter)

    holder = nn.Sequential(layer)
    config: Any
    if kind == "loha":
        config = peft.LoHaConfig(r=2, alpha=3, target_modules=["0"], init_weights=False)
    else:
        config = peft.LoKrConfig(r=2, alpha=3, target_modules=["0"], init_weights=False, decompose_factor=4)
    wrapped: Any = peft.get_peft_model(holder, config)  # type: ignore[arg-type]
    module = wrapped.base_model.model[0]
    with torch.no_grad():
        for name, tensor in adapter.tensors.items():
            foreign = getattr(module, name)["default"]
            foreign.copy_(tensor.view(foreign.shape))
    assert torch.allclose(ours, wrapped(x), rtol=1e-4, atol=1e-5)
    assert torch.allclose(adapter.delta(), module.get_delta_weight("default").view(layer.weight.shape), atol=1e-5)
