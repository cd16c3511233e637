"""A LoRA out of two checkpoints: what a fine-tuned model has that its base has not, by rank.

>>> extract(find_networks("base.safetensors"), find_networks("tuned.safetensors"), Path("out.safetensors"), rank=64)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.model import Model
from tehon.messages.problem import Problem
from tehon.surgery.factors import as_layers, cut, kept, singular
from tehon.surgery.written import check_result, write_result
from tehon.weights.lora_file import layer_name
from tehon.weights.places import layer_places

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extracted:
    """A layer's rank, and what share of the Frobenius norm of the difference its LoRA holds."""

    name: str
    rank: int
    kept_norm: float


def extract(
    base: Model,
    tuned: Model,
    out: Path,
    *,
    rank: int,
    conv_rank: int = 0,
    rule: str = "",
    number: float = 0.0,
    precision: str = "float",
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[Extracted]:
    """Writes a LoRA with the best approximation of the difference, in each layer of at most `rank` ranks, or as many as
    a rule of `tehon.surgery.factors.RULES` with its number asks for. Layers around the transformers are left out unless
    there is a `conv_rank`, which is that of larger kernels. Layers that don't differ are left out."""
    check_result(out, overwrite)
    if len({base.family.name, tuned.family.name}) > 1:
        raise Problem("extract_families", first=base.family.name, second=tuned.family.name)
    before, after = layer_places(base), layer_places(tuned)
    wanted = list(_targets(base, bool(conv_rank)))
    layers: dict[str, dict[str, Tensor]] = {}
    rows: list[Extracted] = []
    for done, name in enumerate(wanted):
        progress(done, len(wanted))
        for model, places in ((base, before), (tuned, after)):
            if name not in places:
                raise Problem("extract_missing", path=model.path, name=name)
        one, two = before[name].read(), after[name].read()
        if one.numel() != two.numel():
            raise Problem("extract_shapes", path=tuned.path, name=name)
        found = _layer(two.view(one.shape), one, rank, conv_rank, (rule, number), device)
        if found is not None:
            layers[name], share = found
            rows.append(Extracted(name, len(layers[name]["lora_down.weight"]), share))
    if not layers:
        raise Problem("extract_same", first=base.path, second=tuned.path)
    write_result(out, layers, _metadata(base, tuned, out), precision, overwrite)
    return rows


def _targets(model: Model, convolves: bool) -> Iterator[str]:
    """The layers that a network here could train, by their names in LoRA files."""
    for root, rows in model.family.adapter_layers.items():
        for row in rows(model.configs[model.family.adapter_roots[root]]):
            if convolves or row.place == "attention":
                yield layer_name(root, model.family.file_path(root, row.path))


@torch.no_grad()
def _layer(
    tuned: Tensor, base: Tensor, rank: int, conv_rank: int, rule: tuple[str, float], device: str
) -> tuple[dict[str, Tensor], float] | None:
    difference = tuned.float() - base.float()
    if not difference.any():
        return None
    shape = tuple(difference.shape)
    parts = singular(difference.flatten(1).to(device))
    most = conv_rank if prod(shape[2:]) > 1 else rank
    count = kept(parts[1], most, *rule)
    up, down = (part.cpu() for part in cut(*parts, count))
    share = float(parts[1][:count].norm() / parts[1].norm())
    return as_layers(up, down, shape) | {"alpha": torch.tensor(float(count))}, share


def _metadata(base: Model, tuned: Model, out: Path) -> dict[str, str]:
    label = tuned.family.labels[tuned.prediction]
    return {
        "ss_network_module": "networks.lora",
        "ss_output_name": out.stem,
        "ss_base_model_version": label.base_version,
        "ss_v2": str(label.base_version.startswith("sd_v2")),
        "ss_sd_model_name": base.path.name,
        "ss_training_comment": f"extracted: {tuned.path.name} - {base.path.name}",
        "modelspec.architecture": label.architecture,
        "modelspec.title": out.stem,
        "modelspec.prediction_type": tuned.prediction,
    }
