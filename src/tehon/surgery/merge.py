"""LoRAs made part of a base model for good: W' = W + the sum of strength * dW, tensor by tensor from file to file.

>>> loras = [open_lora(Path("mofu.safetensors"), 0.8)]
>>> merge_into_model(find_networks("model.safetensors"), loras, Path("out.safetensors"))
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.lora_names import check_matched
from tehon.catalog.model import Model
from tehon.disk import fill_folder, is_there
from tehon.messages.problem import Problem
from tehon.surgery.fitting import change
from tehon.surgery.lora_layers import LoraLayers
from tehon.weights.lora_file import PRECISIONS
from tehon.weights.places import WeightPlace, layer_places, model_files, part_file
from tehon.weights.slices import DTYPES, NAMES, Row, Tensors, sorted_rows, write_tensors

Progress = Callable[[int, int], None]
"""Told how many tensors or layers of how many are done."""


@dataclass(frozen=True)
class Merged:
    """How many of the model's layers were changed, and how many tensors were written."""

    changed: int
    tensors: int


def merge_into_model(
    model: Model,
    loras: Sequence[LoraLayers],
    out: Path,
    *,
    precision: str = "",
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Merged:
    """Writes the model with the LoRAs in it, as a file where it is one, else as a folder. A Problem when a LoRA has a
    layer that the model lacks. Number types stay as they are unless a precision of `PRECISIONS` is given, which
    float tensors then have. A pickled checkpoint becomes safetensors, as do a folder's changed parts."""
    check_out(model, out, overwrite)
    files = model_files(model)
    places = layer_places(model, files)
    for lora in loras:
        check_fits(lora, places)
    work = _Work(places, loras, NAMES[PRECISIONS[precision]] if precision else "", progress)
    work.total = sum(len(source.rows) for sources in files.values() for source in sources)
    if model.single_file:
        (source,) = files[""]
        rows = {name: work.row(row) for name, row in source.rows.items()}
        metadata = _told(source.metadata, loras)
        rows = rows if source.path.suffix == ".safetensors" else sorted_rows(rows)
        write_tensors(out, rows, metadata, lambda name: work.tensor(source, name), overwrite=overwrite)
    else:
        fill_folder(out, lambda aside: _write_folder(model, files, work, aside), overwrite)
    return Merged(len(work.changed), work.total)


def check_out(model: Model, out: Path, overwrite: bool) -> None:
    """A Problem when the result would be written over the model itself, into it or around it, or over what may not be
    replaced."""
    there = is_there(out)
    here, own = out.resolve(), model.path.resolve()
    if here == own or here in own.parents or own in here.parents:
        raise Problem("merge_over_itself", path=out)
    if there and not overwrite:
        raise Problem("file_exists", path=out)
    if model.single_file and out.suffix.lower() != ".safetensors":
        raise Problem("out_not_safetensors", field="--out", path=out)


def check_fits(lora: LoraLayers, places: Mapping[str, WeightPlace]) -> None:
    """A Problem when the file has a layer that the model lacks."""
    check_matched(lora.path, lora.layers, [name for name in lora.layers if name not in places])


class _Work:
    """Each tensor as it is in the result."""

    def __init__(
        self, places: Mapping[str, WeightPlace], loras: Sequence[LoraLayers], dtype: str, progress: Progress
    ) -> None:
        self.loras = loras
        self.dtype = dtype
        self.progress = progress
        self.layers: dict[tuple[Path, str], list[tuple[str, WeightPlace]]] = {}
        for layer, place in places.items():
            if any(layer in lora.layers for lora in loras):
                self.layers.setdefault((place.source.path, place.name), []).append((layer, place))
        self.changed: set[str] = set()
        self.done = self.total = 0

    def row(self, row: Row) -> Row:
        return Row(self.dtype, row.shape) if self.dtype and row.dtype.startswith(("F", "BF")) else row

    def tensor(self, source: Tensors, name: str) -> Tensor:
        tensor = source.tensor(name)
        row = self.row(source.rows[name])
        self.done += 1
        self.progress(self.done, self.total)
        layers = self.layers.get((source.path, name))
        if not layers:
            return tensor.to(DTYPES[row.dtype])
        pieces = list(tensor.float().chunk(layers[0][1].pieces))
        for layer, place in layers:
            pieces[place.piece] = self._merged(layer, pieces[place.piece])
        result = torch.cat(pieces).to(DTYPES[row.dtype])
        if not result.isfinite().all():
            raise Problem("merge_not_finite", name=name, precision=row.dtype)
        return result

    def _merged(self, layer: str, weight: Tensor) -> Tensor:
        """All changes are to the weight as the model has it, so that the order of the files doesn't matter."""
        own = [lora for lora in self.loras if layer in lora.layers]
        total = weight.clone()
        for lora in own:
            total += change(weight, lora.tensors(layer), layer, lora.path, lora.strength_of(layer))
        self.changed.add(layer)
        return total


def _write_folder(model: Model, files: Mapping[str, list[Tensors]], work: _Work, out: Path) -> None:
    """Everything that is no weight of a changed part is copied."""
    for folder, _, names in os.walk(model.path, followlinks=True, onerror=_unlistable):
        part = Path(folder).relative_to(model.path)
        (out / part).mkdir(exist_ok=True)
        for name in names:
            if part.as_posix() not in files or not (".safetensors" in name or ".bin" in name):
                shutil.copyfile(Path(folder, name), out / part / name)
    for part, sources in files.items():
        owner = {name: source for source in sources for name in source.rows}
        rows = sorted_rows({name: work.row(source.rows[name]) for name, source in owner.items()})

        def tensor(name: str, owner: Mapping[str, Tensors] = owner) -> Tensor:
            return work.tensor(owner[name], name)

        write_tensors(out / part_file(part, model.family), rows, {"format": "pt"}, tensor)


def _unlistable(error: OSError) -> None:
    """os.walk itself goes on without such a folder."""
    raise Problem("part_unlistable", path=error.filename, reason=error.strerror or error) from None


def _told(metadata: Mapping[str, str], loras: Sequence[LoraLayers]) -> dict[str, str]:
    """The model's metadata with modelspec's word for where it comes from, and without the hash of what it was."""
    before = metadata.get("modelspec.merged_from", "")
    names = [f"{lora.path.stem} ({lora.strength:g})" for lora in loras]
    kept = {key: text for key, text in metadata.items() if key != "modelspec.hash_sha256"}
    return kept | {"modelspec.merged_from": ", ".join([*([before] if before else []), *names])}
