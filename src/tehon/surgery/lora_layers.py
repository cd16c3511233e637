"""The layers of a LoRA file, read one at a time, each with the strength it is wanted at.

>>> lora = open_lora(Path("mofu.safetensors"), strength=0.8)
>>> len(lora.layers), lora.family.name
(264, 'sd1')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path

from torch import Tensor

from tehon.catalog.families import Family
from tehon.catalog.header import read_header
from tehon.catalog.kinds import check_whole_layer, kind_of
from tehon.catalog.layers import Shapes
from tehon.catalog.lora_names import block_index, family_of_lora, layer_place, not_a_lora
from tehon.messages.problem import Problem
from tehon.weights.slices import SafeTensors


@dataclass(frozen=True)
class LoraLayers:
    """`layers` is {layer's name in files of its family: {tensor: shape}}. `own` are the names that this file has where
    they are others. `blocks` are strengths by block of the U-Net, `text` the strength of text encoders; None: as
    `strength`."""

    path: Path
    family: Family
    metadata: Mapping[str, str]
    layers: dict[str, Shapes]
    own: dict[str, str]
    strength: float = 1.0
    text: float | None = None
    blocks: tuple[float, ...] = ()

    @cached_property
    def source(self) -> SafeTensors:
        """The file, whose header is read once."""
        return SafeTensors(self.path)

    def tensors(self, layer: str) -> dict[str, Tensor]:
        """{tensor's name: tensor} of a layer, as the file has them; a Problem where a number is not finite."""
        return {key: self.source.finite(name) for key, name in self.names(layer).items()}

    def names(self, layer: str) -> dict[str, str]:
        """{tensor's name: its whole name in the file} of a layer."""
        own = self.own.get(layer, layer)
        return {key: f"{own}.{key}" for key in self.layers[layer]}

    def strength_of(self, layer: str) -> float:
        """The strength a layer is wanted at: of its part, times that of its block."""
        index = block_index(layer, self.family)
        place = layer_place(layer)
        if place and place.root in self.family.text_rate_roots:
            return self.strength if self.text is None else self.text
        return self.strength * (self.blocks[index] if self.blocks and index is not None else 1.0)


def open_lora(path: Path, strength: float = 1.0, text: float | None = None, blocks: str = "") -> LoraLayers:
    """A LoRA file in kohya's format; a Problem when it is none, or a layer of it is not whole. SDXL's names of
    diffusers' kind become the usual ones.

    `blocks` are numbers with commas or blanks, one for each block of the family's U-Net.
    """
    header = read_header(path)
    layers = header.layers()
    if not any(kind_of(tensors) for tensors in layers.values()):
        raise not_a_lora(path, header.shapes)
    for name, tensors in layers.items():
        check_whole_layer(path, name, tensors)
    family = family_of_lora(layers, header.metadata)
    if not family:
        raise Problem("lora_names_unknown", path=path, name=next(iter(layers)))
    own: dict[str, str] = {}
    named: dict[str, Shapes] = {}
    for name, tensors in layers.items():
        usual = _usual(name, family)
        if usual in named:  # the same layer under two names
            raise Problem("lora_layer_broken", path=path, name=name)
        named[usual] = tensors
        if usual != name:
            own[usual] = name
    return LoraLayers(path, family, header.metadata, named, own, strength, text, _weights(blocks, family))


def _usual(name: str, family: Family) -> str:
    place = layer_place(name)
    if place is None:
        return name
    try:
        return family.layer_name(place.root, place.path)
    except KeyError:
        return name


def _weights(text: str, family: Family) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise Problem("not_numbers", field="--blocks", value=text) from None
    if not all(map(isfinite, numbers)):
        raise Problem("not_numbers", field="--blocks", value=text)
    if len(numbers) != family.blocks.count:
        raise Problem("block_count", field="--blocks", count=len(numbers), wanted=family.blocks.count)
    return tuple(numbers)
