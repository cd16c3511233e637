"""Adapters on a family's layers: new ones to train, or those of a file to look through.

>>> adapters = new_adapters(behaviour, parts, plan.modules, seed=1, moment=Moment(), shares=Shares())
>>> len(adapters["lora_unet"])
192
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Adapter, Layer, attach, fill, in_file, merge
from tehon.adapters.chance import Chance, Moment
from tehon.adapters.dylora import DyLora, sorts_after
from tehon.adapters.kinds import Training, build
from tehon.adapters.lora import Lora, joint
from tehon.adapters.restraint import Restraint
from tehon.catalog.kinds import TAKES_STRENGTH
from tehon.catalog.lora_names import check_matched
from tehon.diffusion.draws import generator_for
from tehon.families.attention import Joined, join_projections
from tehon.families.family import Behaviour
from tehon.messages.problem import Problem
from tehon.planning.modules import PlannedModule
from tehon.surgery.fitting import adapter_from, shaped
from tehon.training.process_group import ProcessGroup
from tehon.weights.lora_file import read_lora

Adapters = dict[str, dict[str, Adapter]]


@dataclass(frozen=True)
class Shares:
    """The shares of numbers, ranks and modules that are left out in training."""

    dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0


def named_layers(
    behaviour: Behaviour, parts: Any, prefixes: Sequence[str] | None = None
) -> dict[str, dict[str, Layer]]:
    """{prefix: {name in a LoRA file: layer}} of every Linear and Conv2d of the networks that carry adapters; `prefixes`
    names some of them, None all."""
    roots = behaviour.roots(parts, prefixes)
    return {prefix: _layers_of(behaviour, prefix, root) for prefix, root in roots.items()}


def _layers_of(behaviour: Behaviour, prefix: str, root: nn.Module) -> dict[str, Layer]:
    return {
        behaviour.layer_name(prefix, path): module
        for path, module in root.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def new_adapters(
    behaviour: Behaviour,
    parts: Any,
    modules: Sequence[PlannedModule],
    *,
    seed: int,
    moment: Moment,
    shares: Shares | None = None,
    training: Training | None = None,
) -> Adapters:
    """New adapters on the planned layers, attached. What a layer draws depends on its name alone."""
    layers = named_layers(behaviour, parts, list(dict.fromkeys(module.root for module in modules)))
    shares = shares or Shares()
    found: Adapters = {}
    for module in modules:
        layer = layers[module.root][module.name]
        assert tuple(layer.weight.shape) == module.shape, f"{module.name} is not what the plan took it for"
        restraint = Restraint(Chance(moment, module.name), shares.dropout, shares.rank_dropout, shares.module_dropout)
        adapter = build(layer, module.tensors, module.alpha, restraint, training, on_input=module.on_input)
        adapter.initialise(generator_for(seed, f"adapter {module.name}"))
        attach(adapter)
        found.setdefault(module.root, {})[module.name] = adapter
    return found


def join(network: nn.Module, adapters: Adapters) -> None:
    """Lets LoRAs of an attention that read the same input compute together."""
    by_layer = {a.layer: a for layers in adapters.values() for a in layers.values() if isinstance(a, Lora)}

    def joined(layers: list[Any]) -> Joined | None:
        found = [by_layer[layer] for layer in layers if layer in by_layer]
        return joint(found) if len(found) == len(layers) else None

    join_projections(network, joined)


def start_from(adapters: Adapters, modules: Sequence[PlannedModule], file: Path) -> None:
    """Fills adapters with a file's tensors, so that they change the model as the file does.

    A file's strength is its own alpha / rank. Where the run's alpha differs, one tensor takes up the difference.
    """
    rows = read_lora(file)
    for module in modules:
        tensors = rows.get(module.name)
        if tensors is None:
            continue
        adapter = adapters[module.root][module.name]
        tensors = shaped(tensors, module.shape)
        if "on_input" in tensors and bool(tensors["on_input"]) != module.on_input:
            raise Problem("ia3_other_side", field="network.weights", path=file, name=module.name)
        fill(adapter, tensors)
        alpha = float(tensors.get("alpha", torch.tensor(float(module.rank))))
        if alpha != module.alpha and "alpha" in module.tensors and not {"lokr_w1", "lokr_w2"} <= tensors.keys():
            with torch.no_grad():
                next(adapter.tensors[key] for key in TAKES_STRENGTH if key in tensors).mul_(alpha / module.alpha)


def file_tensors(adapters: Adapters) -> dict[str, Tensor]:
    """All tensors of the adapters by their key in a LoRA file."""
    return {
        f"{name}.{tensor_name}": tensor
        for layers in adapters.values()
        for name, adapter in layers.items()
        for tensor_name, tensor in in_file(adapter).items()
    }


def kept_tensors(adapters: Adapters) -> dict[str, Tensor]:
    """What adapters hold and gradients don't move: tensors that are drawn and stay (LoRA-FA), the order of DyLoRA's
    ranks and what flows through them."""
    found: dict[str, Tensor] = {}
    for layers in adapters.values():
        for name, adapter in layers.items():
            held = {key: tensor.detach() for key, tensor in adapter.tensors.items() if not tensor.requires_grad}
            if isinstance(adapter, DyLora):
                held |= {"order": adapter.order, "flow": adapter.flow.sums}
            found |= {f"{name}.{key}": tensor for key, tensor in held.items()}
    return found


def settle_ranks(adapters: Adapters, step: int, steps: int, made: bool, peers: ProcessGroup) -> None:
    """What every DyLoRA does after so many updates of a training, the last of which was `made` or skipped. The ranks'
    order is, among several processes, the first one's."""
    found = [adapter for layers in adapters.values() for adapter in layers.values() if isinstance(adapter, DyLora)]
    if not found:
        return
    for adapter in found:
        adapter.flow.settle(made)
    if sorts_after(step, steps):
        for adapter in found:
            adapter.sort()
        for adapter, order in zip(found, peers.hand_out([adapter.order.cpu() for adapter in found]), strict=True):
            adapter.order.copy_(order)


def adapters_from_file(behaviour: Behaviour, parts: Any, file: Path) -> list[Adapter]:
    """The adapters of a LoRA file, not yet attached; a Problem when one of its layers is not in the model."""
    layers = {name: layer for under in named_layers(behaviour, parts).values() for name, layer in under.items()}
    rows = read_lora(file)
    check_matched(file, rows, [name for name in rows if name not in layers])
    return [adapter_from(layers[name], tensors, name, file) for name, tensors in rows.items()]


def merge_file(behaviour: Behaviour, file: Path, strength: float, part: str, network: nn.Module) -> None:
    """Makes what a LoRA file has for a part of the model part of its network, for as long as that is loaded."""
    rows = read_lora(file)
    for prefix in (prefix for prefix, owner in behaviour.family.adapter_roots.items() if owner == part):
        layers = _layers_of(behaviour, prefix, network)
        for name in rows.keys() & layers.keys():
            adapter = adapter_from(layers[name], rows[name], name, file)
            adapter.multiplier = strength
            merge(adapter)


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
