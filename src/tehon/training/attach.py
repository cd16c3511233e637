"""Adapters on a family's layers: new ones to train, or those of a file to look through.

>>> adapters = new_adapters(behaviour, parts, ["lora_te", "lora_unet"], rank=8, alpha=1.0, seed=1)
>>> len(adapters["lora_unet"])
192
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tehon.adapters.adapter import Layer, attach, merge
from tehon.adapters.lora import Lora
from tehon.adapters.select import select_layers
from tehon.diffusion.draws import generator_for
from tehon.families.family import Behaviour
from tehon.messages.problem import Problem
from tehon.weights.lora_file import layer_name, read_lora

Adapters = dict[str, dict[str, Lora]]


def named_layers(behaviour: Behaviour, parts: Any) -> dict[str, dict[str, Layer]]:
    """{prefix: {name in a LoRA file: layer}} of every layer that a LoRA of this family can change."""
    inside = behaviour.family.adapter_inside
    return {
        prefix: {
            layer_name(prefix, behaviour.file_path(prefix, path)): layer
            for path, layer in select_layers(root, inside[prefix]).items()
        }
        for prefix, root in behaviour.roots(parts).items()
    }


def new_adapters(
    behaviour: Behaviour, parts: Any, prefixes: list[str], *, rank: int, alpha: float, seed: int
) -> Adapters:
    """New adapters on all layers under the prefixes, attached. What a layer draws depends on its name alone."""
    found: Adapters = {}
    for prefix, layers in named_layers(behaviour, parts).items():
        if prefix not in prefixes:
            continue
        found[prefix] = {name: Lora(layer, rank, alpha) for name, layer in layers.items()}
        for name, adapter in found[prefix].items():
            adapter.initialise(generator_for(seed, f"adapter {name}"))
            attach(adapter)
    return found


def file_tensors(adapters: Adapters) -> dict[str, Tensor]:
    """All tensors of the adapters by their key in a LoRA file."""
    return {
        f"{name}.{tensor_name}": tensor
        for layers in adapters.values()
        for name, adapter in layers.items()
        for tensor_name, tensor in (adapter.parameters() | adapter.buffers()).items()
    }


def adapters_from_file(behaviour: Behaviour, parts: Any, file: Path) -> list[Lora]:
    """The adapters of a LoRA file, not yet attached; a Problem when one of its layers is not in the model."""
    layers = {name: layer for under in named_layers(behaviour, parts).values() for name, layer in under.items()}
    rows = read_lora(file)
    strangers = [name for name in rows if name not in layers]
    if strangers:
        matched = len(rows) - len(strangers)
        raise Problem("lora_unmatched", path=file, matched=matched, total=len(rows), name=strangers[0])
    return [_adapter_from(layers[name], tensors, name, file) for name, tensors in rows.items()]


def _adapter_from(layer: Layer, tensors: dict[str, Tensor], name: str, file: Path) -> Lora:
    if set(tensors) - {"lora_down.weight", "lora_up.weight", "alpha"} or "lora_up.weight" not in tensors:
        raise Problem("lora_kind_unknown", path=file, name=name)
    down, up = tensors["lora_down.weight"].float(), tensors["lora_up.weight"].float()
    rank = down.shape[0]
    adapter = Lora(layer, rank, float(tensors.get("alpha", torch.tensor(rank))))
    if adapter.down.shape != down.shape or adapter.up.shape != up.shape:
        raise Problem("lora_shape", path=file, name=name)
    with torch.no_grad():
        adapter.down.copy_(down)
        adapter.up.copy_(up)
    return adapter


@contextmanager
def lora_files(behaviour: Behaviour, parts: Any, files: list[tuple[Path, float]]) -> Generator[int, None, None]:
    """The model has these (file, strength) LoRAs merged into it inside the block, and is itself again, bit for bit,
    after it. Gives the number of layers changed."""
    before: dict[Layer, Tensor] = {}
    try:
        for file, strength in files:
            for adapter in adapters_from_file(behaviour, parts, file):
                adapter.multiplier = strength
                before.setdefault(adapter.layer, adapter.layer.weight.detach().clone())
                merge(adapter)
        yield len(before)
    finally:
        with torch.no_grad():
            for layer, weight in before.items():
                layer.weight.copy_(weight)
