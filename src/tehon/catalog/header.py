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
SIZES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of a number, by safetensors' name for its type."""

_CODES = {"F16": "e", "F32": "f", "F64": "d", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B"}  # of struct


@dataclass(frozen=True)
class Header:
    """Shapes and types by tensor name, metadata, and where in the file the tensors' bytes start: all, and each."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]
    body: int
    starts: dict[str, int]

    def layers(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """{layer: {tensor: shape}} of a LoRA file, whose keys are a layer's and a tensor's name with a dot between."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for key, shape in self.shapes.items():
            layer, _, tensor = key.partition(".")
            found.setdefault(layer, {})[tensor] = shape
        return found


def read_header(file: Path) -> Header:
    """Reads the header; a Problem when there is no such file, it is not safetensors, it ends early, or its header says
    of the tensors what cannot be. The rules are those of the safetensors library: the tensors fill what is behind the
    header, each as large as its shape and type, without gaps and without a byte in two of them."""
    size = _size(file)
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(_LARGEST, size):
                raise ValueError(length)
            rows: dict[str, Any] = json.loads(stream.read(length).decode())
        metadata = {_text(key): _text(text) for key, text in rows.pop("__metadata__", {}).items()}
        shapes = {name: tuple(map(_count, row["shape"])) for name, row in rows.items()}
        dtypes = {name: str(row["dtype"]) for name, row in rows.items()}
        places = {name: (_count(row["data_offsets"][0]), _count(row["data_offsets"][1])) for name, row in rows.items()}
        for name in rows:
            name.encode()  # a UnicodeEncodeError for half a character, which no other program takes either
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error):
        raise Problem("not_safetensors", path=file) from None
    body = 8 + length
    end = body + max((stop for _, stop in places.values()), default=0)
    if size < end:
        raise Problem("file_cut_off", path=file, size=f"{size:,}", wanted=f"{end:,}")
    _check_places(file, shapes, dtypes, places)
    if size > end:
        raise Problem("file_too_long", path=file, size=f"{size:,}", wanted=f"{end:,}")
    return Header(shapes, dtypes, metadata, body, {name: body + start for name, (start, _) in places.items()})


def _size(file: Path) -> int:
    """How many bytes a file has; a Problem for what is none, whatever the system has against its name."""
    try:
        if file.is_file():
            return file.stat().st_size
        if file.is_dir():
            peft = any(file.glob("*/adapter_config.json"))
            raise Problem("lora_of_peft", path=file, folder=file) if peft else Problem("file_is_folder", path=file)
    except OSError:  # a name that is too long for the file system
        pass
    raise Problem("file_missing", path=file)


def _check_places(
    file: Path, shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str], places: dict[str, tuple[int, int]]
) -> None:
    """A Problem for the first tensor that does not begin where the one before ends, or has not the size of its shape.
    Of number types that are not known here the size can't be told."""
    place = 0
    for name in sorted(places, key=places.__getitem__):
        start, stop = places[name]
        size = prod(shapes[name]) * SIZES[dtypes[name]] if dtypes[name] in SIZES else stop - start
        if (start, stop) != (place, place + size) or size < 0:
            raise Problem("header_untrue", path=file, name=name)
        place = stop


def _text(value: Any) -> str:
    """A string of the metadata; halves of characters, which no file can hold, become question marks."""
    return str(value).encode(errors="replace").decode()


def _count(value: Any) -> int:
    """A number of a header; ValueError for what is none."""
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(value)
    return value


def read_floats(file: Path, header: Header, name: str) -> list[float]:
    """The values of a small float tensor."""
    kind = header.dtypes[name]
    with file.open("rb") as stream:
        stream.seek(header.starts[name])
        return _numbers(stream.read(prod(header.shapes[name]) * SIZES[kind]), kind)


def read_scalars(file: Path, header: Header, names: Iterable[str]) -> dict[str, float]:
    """The values of tensors that hold one number each; a Problem for one that holds more, or what is no number."""
    found: dict[str, float] = {}
    with file.open("rb") as stream:
        for name in names:
            stream.seek(header.starts[name])
            kind = header.dtypes[name]
            if prod(header.shapes[name]) != 1 or (kind != "BF16" and kind not in _CODES):
                raise Problem("lora_layer_broken", path=file, name=name.rpartition(".")[0])
            (found[name],) = _numbers(stream.read(SIZES[kind]), kind)
    return found


def _numbers(content: bytes, kind: str) -> list[float]:
    if kind == "BF16":  # the upper half of a float32
        return [struct.unpack("<f", b"\0\0" + half)[0] for (half,) in struct.iter_unpack("2s", content)]
    return [float(number) for (number,) in struct.iter_unpack(f"<{_CODES[kind]}", content)]
