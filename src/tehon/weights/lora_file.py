"""LoRA files in kohya's format: safetensors with keys `<prefix>_<path with underscores>.<tensor>` and text metadata.

>>> tensors = read_lora(Path("mofu.safetensors"))
>>> tensors["lora_te_text_model_encoder_layers_0_mlp_fc1"]["lora_down.weight"].shape
torch.Size([8, 96])
"""

from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.catalog.kinds import check_whole_layer, kind_of
from tehon.catalog.lora_names import not_a_lora
from tehon.messages.problem import Problem
from tehon.weights.readers import Match, match
from tehon.weights.slices import NAMES, Row, SafeTensors, sorted_rows, write_tensors

PRECISIONS = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def write_lora(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str], precision: str) -> list[str]:
    """Writes a LoRA beside its place, reads it back, and moves it there. All tensors are cast, alpha included, but for
    DoRA's lengths: training moves them by less than a narrow type's steps, so that casting them loses what was learned.
    Returns the names of those that are too small for the type and became zero. The metadata get kohya's hashes.
    """
    cast = as_saved(tensors, precision)
    broken = [name for name, tensor in cast.items() if not tensor.isfinite().all()]
    if broken:
        raise Problem("lora_not_finite", name=broken[0], count=len(broken), precision=precision)
    rows = sorted_rows({name: Row(NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in cast.items()})
    write_tensors(file, rows, metadata, cast.__getitem__, overwrite=True, kohya_hashes=True)
    return [name for name, tensor in cast.items() if tensors[name].any() and not tensor.any()]


def as_saved(tensors: dict[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The tensors with the numbers that they have in a file of this precision."""
    return {name: tensor.detach().to(_dtype(name, precision)) for name, tensor in tensors.items()}


def _dtype(name: str, precision: str) -> torch.dtype:
    return torch.float32 if name.endswith(".dora_scale") else PRECISIONS[precision]


def read_lora(file: Path) -> dict[str, dict[str, Tensor]]:
    """{layer name: {tensor name: tensor}}; a Problem when the file is no LoRA of a kind that is known here, or damaged:
    in its shapes or in its numbers."""
    source, header = SafeTensors(file), read_header(file)
    layers = header.layers()
    if not any(map(kind_of, layers.values())):
        raise not_a_lora(file, header.shapes)
    for layer, tensors in layers.items():
        check_whole_layer(file, layer, tensors)
    return {layer: {name: source.finite(f"{layer}.{name}") for name in tensors} for layer, tensors in layers.items()}


def check_readers(file: Path) -> list[Match]:
    """What other programs make of a LoRA; a Problem when one that knows its kind would leave layers out."""
    rows = match(read_header(file).layers())
    for row in rows:
        if row.known and not row.whole:
            raise Problem("lora_unread", path=file, reader=row.reader, matched=row.matched, total=row.total)
    return rows
