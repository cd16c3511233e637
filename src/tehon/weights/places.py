"""Where in a model's files the weight of each layer lies that a LoRA can change.

>>> places = layer_places(find_networks("model.safetensors"))
>>> places["lora_unet_mid_block_attentions_0_proj_in"].name
'model.diffusion_model.middle_block.1.proj_in.weight'
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tehon.catalog.families import Family
from tehon.catalog.model import Model
from tehon.catalog.names import open_clip_names, unet_name
from tehon.catalog.weight_files import weight_files
from tehon.weights.slices import Tensors, open_tensors


@dataclass(frozen=True)
class WeightPlace:
    """A weight is piece `piece` of `pieces` of a tensor, which lie one below the other: OpenCLIP keeps query, key and
    value in one."""

    source: Tensors
    name: str
    piece: int = 0
    pieces: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        out, *rest = self.source.rows[self.name].shape
        return out // self.pieces, *rest

    def read(self) -> Tensor:
        """The weight, in its own number type."""
        return self.source.tensor(self.name).chunk(self.pieces)[self.piece]


def model_files(model: Model) -> dict[str, list[Tensors]]:
    """{part that LoRAs change: its open files}; with "" for a checkpoint of one file, which holds all."""
    if model.single_file:
        return {"": [open_tensors(model.path)]}
    parts = dict.fromkeys(model.family.adapter_roots.values())
    return {part: [open_tensors(file) for file in weight_files(model.path / part)] for part in parts}


def layer_places(model: Model, files: Mapping[str, list[Tensors]] | None = None) -> dict[str, WeightPlace]:
    """{layer's name in a LoRA file: where its weight is}; also of layers that no network trains here."""
    found: dict[str, WeightPlace] = {}
    for part, sources in (model_files(model) if files is None else files).items():
        for source in sources:
            for name, row in source.rows.items():
                if len(row.shape) >= 2:
                    found |= dict(_layers(model, part, source, name))
    return found


def _layers(model: Model, part: str, source: Tensors, name: str) -> Iterator[tuple[str, WeightPlace]]:
    family = model.family
    for root, own in family.adapter_roots.items():
        if part and part != own:
            continue
        names = [_with_root(name, own, family)] if part else _paths(name, own, family)
        for piece, path in enumerate(names):
            layer = _layer(path, root, family)
            if layer:
                yield layer, WeightPlace(source, name, piece, len(names))


def _with_root(name: str, part: str, family: Family) -> str:
    """Some encoders' files leave the outer name out."""
    clip = part in family.text_encoders and name.startswith(("encoder.", "embeddings.", "final_layer_norm."))
    return f"text_model.{name}" if clip else name


def _paths(name: str, part: str, family: Family) -> list[str]:
    """diffusers' and transformers' names of what a tensor of a checkpoint of one file holds."""
    prefix, layout = family.file_parts[part].prefix, family.file_parts[part].layout
    if not name.startswith(prefix):
        return []
    own = name.removeprefix(prefix)
    if layout == "open_clip":
        return open_clip_names(own)
    if layout == "clip":
        return [own if own.startswith("text_model.") else f"text_model.{own}"]
    try:
        return [unet_name(own)]
    except KeyError:
        return []


def _layer(path: str, root: str, family: Family) -> str:
    if not path.endswith(".weight") or "embeddings." in path:
        return ""
    try:
        return family.layer_name(root, path.removesuffix(".weight"))
    except KeyError:
        return ""


def part_file(part: str, family: Family) -> Path:
    """The name that diffusers or transformers expect for the weights of a part, when they lie in one file."""
    return Path(part) / ("model.safetensors" if part in family.text_encoders else "diffusion_pytorch_model.safetensors")
