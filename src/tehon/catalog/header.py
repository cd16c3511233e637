"""The header of a safetensors file, read without its tensors.

Format: 8 bytes little-endian length, then that many bytes of JSON {name: {dtype, shape, data_offsets}}, with all
metadata as strings under `__metadata__` (https://huggingface.co/docs/safetensors).

>>> header = read_header(Path("mofu.safetensors"))
>>> header.metadata["ss_network_dim"], header.shapes["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"]
"""

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem

_LARGEST = 100_000_000  # the format's own limit for a header


@dataclass(frozen=True)
class Header:
    """Shapes and types by tensor name, metadata, and where in the file the tensors' bytes start: all, and each.
    `end` is where the last of them ends."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]
    body: int
    starts: dict[str, int]
    end: int = 0

    def layers(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """{layer: {tensor: shape}} of a LoRA file, whose keys are a layer's and a tensor's name with a dot between."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for key, shape in self.shapes.items():
            layer, _, tensor = key.partition(".")
            found.setdefault(layer, {})[tensor] = shape
        return found


def read_header(file: Path) -> Header:
    """Reads the header; a Problem when there is no such file or it is not safetensors."""
    if not file.is_file():
        raise Problem("file_missing", path=file)
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(_LARGEST, file.stat().st_size):
                raise ValueError(length)
            rows: dict[str, Any] = json.loads(stream.read(length))
        metadata = {str(key): str(text) for key, text in rows.pop("__metadata__", {}).items()}
        shapes = {name: tuple(map(_count, row["shape"])) for name, row in rows.items()}
        dtypes = {name: str(row["dtype"]) for name, row in rows.items()}
        starts = {name: 8 + length + _count(row["data_offsets"][0]) for name, row in rows.items()}
        end = 8 + length + max((_count(row["data_offsets"][1]) for row in rows.values()), default=0)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error):
        raise Problem("not_safetensors", path=file) from None
    return Header(shapes, dtypes, metadata, 8 + length, starts, end)


def _count(value: Any) -> int:
    """A number of a header; ValueError for what is none."""
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(value)
    return value


def check_whole(file: Path, header: Header) -> None:
    """A Problem when the file ends before its last tensor, as a broken download does."""
    size = file.stat().st_size
    if size < header.end:
        raise Problem("file_cut_off", path=file, size=f"{size:,}", wanted=f"{header.end:,}")


def read_floats(file: Path, header: Header, name: str) -> list[float]:
    """The values of a small float tensor."""
    count = prod(header.shapes[name])
    with file.open("rb") as stream:
        stream.seek(header.starts[name])
        if header.dtypes[name] == "BF16":  # the upper half of a float32
            halves = struct.iter_unpack("2s", stream.read(2 * count))
            return [struct.unpack("<f", b"\0\0" + half)[0] for (half,) in halves]
        code, size = {"F16": ("e", 2), "F32": ("f", 4), "F64": ("d", 8)}[header.dtypes[name]]
        return list(struct.unpack(f"<{count}{code}", stream.read(count * size)))


def read_scalars(file: Path, header: Header, names: Iterable[str]) -> dict[str, float]:
    """The values of tensors that hold one number each."""
    found: dict[str, float] = {}
    with file.open("rb") as stream:
        for name in names:
            stream.seek(header.starts[name])
            kind = header.dtypes[name]
            if kind == "BF16":  # the upper half of a float32
                (found[name],) = struct.unpack("<f", b"\0\0" + stream.read(2))
            else:
                code, size = {"F16": ("<e", 2), "F32": ("<f", 4), "F64": ("<d", 8), "I64": ("<q", 8)}[kind]
                (found[name],) = map(float, struct.unpack(code, stream.read(size)))
    return found
