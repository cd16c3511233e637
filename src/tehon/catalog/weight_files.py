"""Which files hold a network's weights, and how much of them, without torch.

>>> weights_of(model, "unet")
Held(numbers=859520964, bytes=3438083856, words=0)
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from tehon.catalog.header import SIZES, Header, read_header
from tehon.catalog.model import Model
from tehon.catalog.pickled import pickled_header
from tehon.messages.problem import Problem


@dataclass(frozen=True)
class Held:
    """What files hold of one network: numbers, their bytes, and how many numbers are the vectors of words, of which a
    run looks at few."""

    numbers: int
    bytes: int
    words: int

    def __add__(self, other: "Held") -> "Held":
        return Held(self.numbers + other.numbers, self.bytes + other.bytes, self.words + other.words)


def weight_files(folder: Path) -> list[Path]:
    """The files that make up a part of a diffusers folder, safetensors before pickles, plain before variants; a Problem
    when there are none."""
    for ending in ("safetensors", "bin"):
        whole = [file for file in folder.glob(f"*.{ending}") if "-of-" not in file.name]
        found = sorted([*whole, *folder.glob(f"*.{ending}.index*.json")], key=lambda file: (len(file.name), file.name))
        if not found:
            continue
        if found[0].suffix != ".json":
            return [found[0]]
        return [folder / name for name in sorted(shards_of(found[0]))]
    raise Problem("model_incomplete", field="model.path", path=folder)


def shards_of(index: Path) -> set[str]:
    """The names of the files that an index names; a Problem when it is damaged."""
    try:
        return set(map(str, json.loads(index.read_text("utf8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Problem("model_unreadable", field="model.path", path=index, reason=error) from None


def weights_of(model: Model, part: str) -> Held:
    """What the model's files hold of a network. Problems as `weight_files` and the readers of headers have them."""
    prefix = ""
    if part == "vae" and model.vae is not None:
        files = weight_files(model.vae) if model.vae.is_dir() else [model.vae]
    elif model.single_file:
        files, prefix = [model.path], model.family.file_parts[part].prefix
    else:
        files = weight_files(model.path / part)
    return sum((_held(file, prefix) for file in files), Held(0, 0, 0))


def _held(file: Path, prefix: str) -> Held:
    plain = file.suffix.lower() == ".safetensors"
    header: Header = read_header(file) if plain else pickled_header(file)
    own = {name: prod(shape) for name, shape in header.shapes.items() if name.startswith(prefix)}
    numbers = sum(own.values())
    words = sum(count for name, count in own.items() if name.endswith("token_embedding.weight"))
    if plain:
        size = sum(count * SIZES.get(header.dtypes[name], 1) for name, count in own.items())
    else:  # it tells the types of few tensors, so the file's size decides
        every = sum(map(prod, header.shapes.values()))
        size = round(numbers * min(4, max(2, round(file.stat().st_size / max(1, every)))))
    return Held(numbers, size, words)
