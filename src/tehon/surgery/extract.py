"""A LoRA out of two checkpoints: what a fine-tuned model has that its base has not, by rank.

>>> extract(find_networks("base.safetensors"), find_networks("tuned.safetensors"), Path("out.safetensors"), rank=64)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.model import Model
from tehon.messages.problem import Problem
from tehon.surgery.factors import as_layers, check_ranks, cut, kept, singular
from tehon.surgery.merge import Progress
from tehon.surgery.written import check_result, write_result
from tehon.weights.places import layer_places


@dataclass(frozen=True)
class Extracted:
    """A layer's rank, and what share of the Frobenius norm of the difference its LoRA holds."""

    name: str
    rank: int
    kept_norm: float


@dataclass(frozen=True)
class Extraction:
    """What a LoRA holds of the difference, and how much it was not to hold: how many layers around the transformers
    differ, and their share of the Frobenius norm of the whole difference."""

    layers: list[Extracted]
    left_out: int
    left_share: float


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
) -> Extraction:
    """Writes a LoRA with the best approximation of the difference, in each layer of at most `rank` ranks, or as many as
    a rule of `tehon.surgery.factors.RULES` with its number asks for. Layers around the transformers are left out unless
    there is a `conv_rank`, which is that of larger kernels; how much they hold is said. Layers that don't differ are
    left out."""
    check_ranks(rank, conv_rank, rule, number)
    check_device(device)
    check_result(out, overwrite)
    if len({base.family.name, tuned.family.name}) > 1:
        raise Problem("extract_families", first=base.family.name, second=tuned.family.name)
    before, after = layer_places(base), layer_places(tuned)
    wanted = list(_targets(base))
    layers: dict[str, dict[str, Tensor]] = {}
    rows: list[Extracted] = []
    inside, outside = 0.0, list[float]()  # the squared norms of what is held, and of each layer that is left out
    for done, (name, convolves) in enumerate(wanted):
        progress(done, len(wanted))
        for model, places in ((base, before), (tuned, after)):
            if name not in places:
                raise Problem("extract_missing", path=model.path, name=name)
        one, two = before[name].read(), after[name].read()
        if one.numel() != two.numel():
            raise Problem("extract_shapes", path=tuned.path, name=name)
        difference = two.view(one.shape).float() - one.float()
        square = float(difference.double().square().sum())
        if not isfinite(square):
            raise Problem("lora_numbers", path=tuned.path, name=name)
        if square and convolves and not conv_rank:
            outside.append(square)
        elif square:
            layers[name], share = _layer(difference, rank, conv_rank, (rule, number), device)
            rows.append(Extracted(name, len(layers[name]["lora_down.weight"]), share))
            inside += square
    if not layers:
        raise Problem("extract_same", first=base.path, second=tuned.path)
    write_result(out, layers, _metadata(base, tuned, out), precision, overwrite, tuned.family)
    return Extraction(rows, len(outside), (sum(outside) / (inside + sum(outside))) ** 0.5)


def check_device(device: str) -> None:
    """A Problem when this machine has no such device."""
    if (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    ):
        raise Problem("tool_device", field="--device", device=device)


def _targets(model: Model) -> Iterator[tuple[str, bool]]:
    """The layers that a network here could train, by their names in LoRA files; whether each is one of those around the
    transformers."""
    for root, rows in model.family.adapter_layers.items():
        for row in rows(model.configs[model.family.adapter_roots[root]]):
            yield model.family.layer_name(root, row.path), row.place != "attention"


@torch.no_grad()
def _layer(
    difference: Tensor, rank: int, conv_rank: int, rule: tuple[str, float], device: str
) -> tuple[dict[str, Tensor], float]:
    shape = tuple(difference.shape)
    parts = singular(difference.flatten(1).to(device))
    most = conv_rank if prod(shape[2:]) > 1 else rank
    count = kept(parts[1], most, *rule)
    up, down = (part.cpu() for part in cut(*parts, count))
    share = float(parts[1][:count].norm() / parts[1].norm())
    return as_layers(up, down, shape) | {"alpha": torch.tensor(float(count))}, share


def _metadata(base: Model, tuned: Model, out: Path) -> dict[str, str]:
    return {
        "ss_network_module": "networks.lora",
        "ss_output_name": out.stem,
        "ss_sd_model_name": base.path.name,
        "ss_training_comment": f"extracted: {tuned.path.name} - {base.path.name}",
        "modelspec.prediction_type": tuned.prediction,
    }
