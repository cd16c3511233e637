"""A LoRA file made out of others: what its metadata say, and the one way in which it is written.

>>> write_result(Path("out.safetensors"), layers, metadata, "fp16", overwrite=False)
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tehon.catalog.header import read_header
from tehon.disk import unwritable
from tehon.messages.problem import Problem
from tehon.weights.lora_file import DTYPES, write_lora

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
) -> None:
    """Writes {layer: {tensor's name: tensor}} with kohya's hashes, and rank and alpha as metadata."""
    check_result(out, overwrite)
    assert precision in DTYPES
    if not layers:
        raise Problem("nothing_left", path=out)
    tensors = {f"{layer}.{name}": tensor for layer, row in layers.items() for name, tensor in row.items()}
    own = {key: text for key, text in metadata.items() if not key.startswith("sshs_")}
    try:
        write_lora(out, tensors, own | _sizes(layers), precision)
    except OSError as error:
        raise unwritable(out, error) from None


def check_result(out: Path, overwrite: bool) -> None:
    """A Problem when the file is there and may not be replaced, or its name doesn't say what it is."""
    if out.suffix.lower() != ".safetensors":
        raise Problem("out_not_safetensors", field="--out", path=out)
    if out.exists() and not overwrite:
        raise Problem("file_exists", path=out)


def _sizes(layers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """kohya's rank and alpha of the file: of all layers where they are equal, else `Dynamic`."""
    plain = [row for row in layers.values() if "lora_down.weight" in row]
    ranks = {len(row["lora_down.weight"]) for row in plain}
    alphas = {float(row["alpha"]) for row in plain if "alpha" in row}
    return {
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
    }
