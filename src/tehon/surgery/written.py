"""A LoRA file made out of others: what its metadata say, and the one way in which it is written.

>>> write_result(Path("out.safetensors"), layers, metadata, "fp16", overwrite=False)
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from tehon.catalog.families import Family
from tehon.catalog.header import read_header
from tehon.disk import is_there, unwritable
from tehon.messages.problem import Problem
from tehon.surgery.labels import label, told_prediction
from tehon.weights.lora_file import PRECISIONS, as_saved, write_lora

_MANY = "Dynamic"
_TITLE = "modelspec.title"
_OF_CONV = ("conv_dim", "conv_alpha")
_OF_BLOCKS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
_NAMES = {"F16": "fp16", "BF16": "bf16"}


def precision_of(file: Path) -> str:
    """The precision that most tensors of a file have."""
    found = list(read_header(file).dtypes.values())
    return _NAMES.get(max(set(found), key=found.count, default=""), "float")


def write_result(
    out: Path,
    layers: Mapping[str, Mapping[str, Tensor]],
    metadata: Mapping[str, str],
    precision: str,
    overwrite: bool = False,
    family: Family | None = None,
) -> None:
    """Writes {layer: {tensor's name: tensor}} with kohya's hashes. Rank and alpha in the metadata are those of these
    layers. A missing title is the file's name, and what says for which models a LoRA is is added where it is missing
    too."""
    check_result(out, overwrite)
    assert precision in PRECISIONS
    if not layers:
        raise Problem("nothing_left", path=out)
    tensors = {f"{layer}.{name}": tensor for layer, row in layers.items() for name, tensor in row.items()}
    for name, tensor in as_saved(tensors, precision).items():
        finite(tensor, name, precision)
    own = label(family, told_prediction(metadata)) if family else {}
    own |= {key: text for key, text in metadata.items() if not key.startswith("sshs_")}
    own[_TITLE] = own.get(_TITLE) or out.stem
    try:
        write_lora(out, tensors, _told(own, layers), precision)
    except OSError as error:
        raise unwritable(out, error) from None


def without_name(metadata: Mapping[str, str], file: Path) -> dict[str, str]:
    """The metadata without the title where that is a name of the file and nobody's choice: what is made of it has
    another name."""
    names = (file.stem, metadata.get("ss_output_name"))
    return {key: text for key, text in metadata.items() if key != _TITLE or text not in names}


def finite(tensor: Tensor, name: str, precision: str = "float") -> Tensor:
    """The tensor; a Problem when it got a number that its type can't hold."""
    if not tensor.isfinite().all():
        raise Problem("result_not_finite", name=name, precision=precision)
    return tensor


def check_result(out: Path, overwrite: bool) -> None:
    """A Problem when the file is there and may not be replaced, or its name doesn't say what it is."""
    if out.suffix.lower() != ".safetensors":
        raise Problem("out_not_safetensors", field="--out", path=out)
    if not overwrite and is_there(out):
        raise Problem("file_exists", path=out)


def _told(metadata: Mapping[str, str], layers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """The metadata with kohya's rank and alpha of these layers: of all where they are equal, else `Dynamic`. A file
    whose `ss_network_args` tell those of larger kernels apart goes on doing so, where each kind has one of its own;
    what they say of ranks block by block is left out, as it is no longer so."""
    plain = [row for row in layers.values() if "lora_down.weight" in row]
    large = [row for row in plain if prod(row["lora_down.weight"].shape[2:]) > 1]
    args = _args(metadata.get("ss_network_args", ""))
    apart = not args.keys().isdisjoint(_OF_CONV) and bool(large)
    rank, alpha = _size([row for row in plain if not apart or not any(row is other for other in large)] or plain)
    told = {**metadata, "ss_network_dim": rank, "ss_network_alpha": alpha}
    if args.keys().isdisjoint((*_OF_CONV, *_OF_BLOCKS)):
        return told
    own = {key: value for key, value in args.items() if key not in (*_OF_CONV, *_OF_BLOCKS)}
    own |= {key: value for key, value in zip(_OF_CONV, _size(large), strict=True) if value != _MANY and apart}
    return told | {"ss_network_args": json.dumps(own, ensure_ascii=False)}


def _args(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _size(layers: Sequence[Mapping[str, Tensor]]) -> tuple[str, str]:
    """(rank, alpha) of layers, as kohya writes them."""
    ranks = {len(row["lora_down.weight"]) for row in layers}
    alphas = {float(row["alpha"]) for row in layers if "alpha" in row}
    return str(ranks.pop()) if len(ranks) == 1 else _MANY, str(alphas.pop()) if len(alphas) == 1 else _MANY
