"""A smaller LoRA out of a DyLoRA: its first ranks, with the alpha that keeps their scale.

>>> smaller = cut_ranks(read_lora(Path("mofu.safetensors")), 4)
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.catalog.lora_names import family_of_lora
from tehon.messages.problem import Problem
from tehon.surgery.factors import is_plain
from tehon.surgery.written import check_result, precision_of, without_name, write_result
from tehon.weights.lora_file import read_lora

Layers = Mapping[str, Mapping[str, Tensor]]


def cut_file(file: Path, rank: int, out: Path, overwrite: bool = False) -> dict[str, dict[str, Tensor]]:
    """Writes the first `rank` ranks of a DyLoRA in the file's own number type, and gives what it holds; a Problem where
    that can't be done, or where the file's metadata say that it is none: the first ranks of others are any of them."""
    header = read_header(file)
    module = header.metadata.get("ss_network_module", "")
    if module and "dylora" not in f"{module} {header.metadata.get('ss_network_args', '')}".lower():
        raise Problem("cut_unsorted", path=file, module=module, rank=rank)
    layers = read_lora(file)
    other = next((name for name, tensors in layers.items() if not is_plain(tensors)), "")
    if other:
        raise Problem("cut_other_kind", path=file, name=other)
    largest = max(len(tensors["lora_down.weight"]) for tensors in layers.values())
    if largest == 1:
        raise Problem("cut_single", path=file)
    if not 1 <= rank < largest:
        raise Problem("cut_rank", path=file, rank=rank, most=largest - 1, largest=largest)
    check_result(out, overwrite)
    smaller = cut_ranks(layers, rank)
    family = family_of_lora(header.layers(), header.metadata)
    write_result(out, smaller, without_name(header.metadata, file), precision_of(file), overwrite, family)
    return smaller


def cut_ranks(layers: Layers, rank: int) -> dict[str, dict[str, Tensor]]:
    """The first `rank` ranks of every layer; layers that have no more stay whole. {layer: {tensor name: tensor}}.

    What the first ranks do stays as strong as it was: a file's scale is its own alpha / its own rank, so that the cut
    one's alpha is alpha b / full rank.
    """
    return {name: _cut(tensors, rank) for name, tensors in layers.items()}


def _cut(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
    full = len(down)
    kept = min(rank, full)
    return {
        **tensors,
        "lora_down.weight": down[:kept].clone(),
        "lora_up.weight": up[:, :kept].clone(),
        "alpha": tensors.get("alpha", torch.tensor(float(full))) * kept / full,
    }
