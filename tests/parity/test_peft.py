"""The same weights in peft's LoRA: the same loss and the same gradient of every adapter."""

from typing import Any

import peft
import torch
from torch import nn

from tehon.adapters.adapter import detach
from tehon.diffusion.losses import squared_error
from tehon.diffusion.noising import add_noise
from tehon.training.assemble import Trainer
from tehon.training.attach import named_layers


def loss_of(trainer: Trainer, unet: Any, text_encoder: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    clean, noise = (torch.randn(2, 4, 16, 16, generator=generator) for _ in range(2))
    times = torch.tensor([100, 700])
    captions = ["a red star", "mofu on a mint background"]
    ids = trainer.parts.tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt").input_ids
    text = text_encoder(ids).last_hidden_state
    noisy = add_noise(clean, noise, trainer.parts.alphas, times)
    return squared_error(unet(noisy, times, text).sample, noise).mean()


def wrap(model: nn.Module, paths: list[str], rank: int, alpha: float) -> Any:
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=paths, lora_dropout=0.0)
    return peft.get_peft_model(model, config)  # type: ignore[arg-type]


def test_loss_and_gradients_are_those_of_peft(trainer: Trainer) -> None:
    parts = trainer.parts
    ours = loss_of(trainer, parts.unet, parts.text_encoder)
    ours.backward()
    adapters = {prefix: dict(layers) for prefix, layers in trainer.adapters.items()}
    path_of = {
        prefix: {layer: path for path, layer in root.named_modules()}
        for prefix, root in trainer.behaviour.roots(parts).items()
    }
    layers = named_layers(trainer.behaviour, parts)
    for under in adapters.values():
        for adapter in under.values():
            detach(adapter)
    wrapped: dict[str, Any] = {}
    theirs: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
    for prefix, root in trainer.behaviour.roots(parts).items():
        paths = {name: path_of[prefix][layer] for name, layer in layers[prefix].items()}
        wrapped[prefix] = wrap(root, list(paths.values()), rank=2, alpha=1.0)
        for name, path in paths.items():
            module = wrapped[prefix].base_model.model.get_submodule(path)
            down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
            with torch.no_grad():
                down.copy_(adapters[prefix][name].down)
                up.copy_(adapters[prefix][name].up)
            theirs[name] = (down, up)
    other = loss_of(trainer, wrapped["lora_unet"], wrapped["lora_te"])
    other.backward()

    assert torch.allclose(ours, other, rtol=1e-5)
    assert len(theirs) == 264
    for under in adapters.values():
        for name, adapter in under.items():
            for mine, foreign in zip((adapter.down, adapter.up), theirs[name], strict=True):
                assert mine.grad is not None
                assert foreign.grad is not None
                difference = (mine.grad - foreign.grad).norm() / foreign.grad.norm()
                assert difference < 1e-5, name
