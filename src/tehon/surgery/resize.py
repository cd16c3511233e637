"""A LoRA of fewer ranks that does as nearly the same as it can: the largest singular values of each layer's change.

>>> rows = resize_file(open_lora(Path("mofu.safetensors")), Path("small.safetensors"), rank=8)
>>> rows[0].kept_norm
0.97
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.kinds import weight_shape
from tehon.messages.problem import Problem
from tehon.surgery.factors import as_layers, check_ranks, cut, is_plain, kept, singular_of_product
from tehon.surgery.fitting import shaped
from tehon.surgery.lora_layers import LoraLayers
from tehon.surgery.written import check_result, precision_of, without_name, write_result


@dataclass(frozen=True)
class Resized:
    """A layer's rank before and after, and what share of the Frobenius norm of its change is left."""

    name: str
    before: int
    after: int
    kept_norm: float


def resize_file(
    lora: LoraLayers,
    out: Path,
    *,
    rank: int,
    conv_rank: int = 0,
    rule: str = "",
    number: float = 0.0,
    precision: str = "",
    overwrite: bool = False,
) -> list[Resized]:
    """Writes the LoRA with at most `rank` ranks in each layer (`conv_rank` for larger kernels); with a rule of
    `tehon.surgery.factors.RULES` and its number, fewer where that leaves enough. What stays is as strong as it was:
    each layer's alpha / rank is kept, as sd-scripts keeps it."""
    check_ranks(rank, conv_rank, rule, number)
    check_result(out, overwrite)
    rows: list[Resized] = []
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensors in lora.layers.items():
        if not is_plain(tensors):
            raise Problem("resize_other_kind", path=lora.path, name=name)
        most = conv_rank if conv_rank and prod(tensors["lora_down.weight"][2:]) > 1 else rank
        layers[name], row = _layer(lora, name, most, rule, number)
        rows.append(row)
    how = f"{rule} {number:g}, at most {rank}" if rule else f"{rank}"
    comments = [f"resized to {how}", lora.metadata.get("ss_training_comment", "")]
    told = {"ss_training_comment": "; ".join(filter(None, comments))}
    metadata, own = {**without_name(lora.metadata, lora.path), **told}, precision or precision_of(lora.path)
    write_result(out, layers, metadata, own, overwrite, lora.family)
    return rows


@torch.no_grad()
def _layer(lora: LoraLayers, name: str, most: int, rule: str, number: float) -> tuple[dict[str, Tensor], Resized]:
    shape = weight_shape(lora.layers[name])
    tensors = shaped(lora.tensors(name), shape)
    down, up = tensors["lora_down.weight"].flatten(1), tensors["lora_up.weight"].flatten(1)
    parts = singular_of_product(up, down)
    s, before = parts[1], len(down)
    after = kept(s, min(most, before), rule, number)
    alpha = float(tensors.get("alpha", torch.tensor(float(before)))) * after / before
    whole = float(s.norm())
    row = Resized(name, before, after, float(s[:after].norm()) / whole if whole else 1.0)
    return as_layers(*cut(*parts, after), shape) | {"alpha": torch.tensor(alpha)}, row
