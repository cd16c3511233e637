"""LoRA files in kohya's format: safetensors with keys `<prefix>_<path with underscores>.<tensor>` and text metadata.

>>> tensors = read_lora(Path("mofu.safetensors"))
>>> tensors["lora_te_text_model_encoder_layers_0_mlp_fc1"]["lora_down.weight"].shape
torch.Size([8, 96])
"""

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.catalog.kinds import check_whole_layer, kind_of
from tehon.catalog.lora_names import not_a_lora
from tehon.disk import clear_leftovers_of, fill_whole, unwritable
from tehon.messages.problem import Problem
from tehon.weights.hashes import legacy_hash
from tehon.weights.readers import Match, match
from tehon.weights.slices import SafeTensors

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def layer_name(prefix: str, path: str) -> str:
    """kohya's name for the adapter of a layer: `lora_unet` and `mid_block.attentions.0.proj_in`, joined."""
    return f"{prefix}_{path.replace('.', '_')}"


def write_lora(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str], precision: str) -> list[str]:
    """Writes a LoRA beside its place, reads it back, and moves it there. All tensors are cast, alpha included, but for
    DoRA's lengths: training moves them by less than a narrow type's steps, so that casting them loses what was learned.
    Returns the names of those that are too small for the type and became zero.

    Adds kohya's hashes to the metadata: `sshs_model_hash` is the sha256 of the file's body, `sshs_legacy_hash`
    A1111's old one over the file as it would be with the `ss_` metadata alone.
    """
    cast = {name: tensor.to("cpu").contiguous() for name, tensor in as_saved(tensors, precision).items()}
    broken = [name for name, tensor in cast.items() if not tensor.isfinite().all()]
    if broken:
        raise Problem("lora_not_finite", name=broken[0], count=len(broken), precision=precision)
    draft = safetensors.torch.save(cast, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    body = draft[8 + int.from_bytes(draft[:8], "little") :]
    hashes = {"sshs_model_hash": hashlib.sha256(body).hexdigest(), "sshs_legacy_hash": legacy_hash(draft)}

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(file, error) from None
    clear_leftovers_of(file)

    def fill(aside: Path) -> None:
        aside.write_bytes(safetensors.torch.save(cast, metadata | hashes))
        written = safetensors.torch.load_file(aside)
        if any(not torch.equal(written[name], tensor) for name, tensor in cast.items()):
            raise Problem("lora_written_wrong", path=file)

    fill_whole(file, fill)
    return [name for name, tensor in cast.items() if tensors[name].any() and not tensor.any()]


def as_saved(tensors: dict[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The tensors with the numbers that they have in a file of this precision."""
    return {name: tensor.detach().to(_dtype(name, precision)) for name, tensor in tensors.items()}


def _dtype(name: str, precision: str) -> torch.dtype:
    return torch.float32 if name.endswith(".dora_scale") else DTYPES[precision]


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
