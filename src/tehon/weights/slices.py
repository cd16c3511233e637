"""Tensors read from and written to safetensors files one at a time, so that no model has to fit into memory.

>>> source = open_tensors(Path("model.safetensors"))
>>> source.rows["first"]
Row(dtype='F16', shape=(320, 4, 3, 3))
>>> write_tensors(Path("copy.safetensors"), source.rows, {}, source.tensor)
"""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.disk import check_space, clear_leftovers_of, fill_whole, is_there, make_folder
from tehon.messages.problem import Problem, reason_of
from tehon.weights.hashes import body_hash, legacy_hash

DTYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Number types, in the order in which the safetensors library lays tensors down."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Row(NamedTuple):
    """What a header says of a tensor, its number type in safetensors' words."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype].itemsize


class Tensors(Protocol):
    """A file's tensors, each read when it is asked for."""

    path: Path
    rows: dict[str, Row]
    metadata: dict[str, str]

    def tensor(self, name: str) -> Tensor:
        """A copy of a tensor, on the CPU."""
        ...


class SafeTensors:
    """Of a .safetensors file; nothing of it stays in memory."""

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        unknown = next((dtype for dtype in header.dtypes.values() if dtype not in DTYPES), None)
        if unknown is not None:
            raise Problem("tensor_type_unknown", path=path, type=unknown)
        self.path = path
        self.metadata = header.metadata
        self.starts = header.starts
        self.rows = {name: Row(header.dtypes[name], shape) for name, shape in header.shapes.items()}

    def tensor(self, name: str) -> Tensor:
        row = self.rows[name]
        with self.path.open("rb") as stream:
            stream.seek(self.starts[name])
            content = bytearray(stream.read(row.bytes))
        if not content:
            return torch.empty(row.shape, dtype=DTYPES[row.dtype])
        return torch.frombuffer(content, dtype=DTYPES[row.dtype]).view(row.shape)

    def finite(self, name: str) -> Tensor:
        """A tensor; a Problem where it holds a number that float32 knows only as NaN or infinite."""
        tensor = self.tensor(name)
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise Problem("lora_numbers", path=self.path, name=name)
        return tensor


class Pickled:
    """Of a .ckpt or .bin file, mapped into memory; only tensors are read, never code."""

    def __init__(self, path: Path) -> None:
        try:
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise Problem("file_unreadable", path=path, reason=reason_of(error)) from None
        content = content.get("state_dict", content)
        self.path = path
        self.metadata: dict[str, str] = {}
        self.content = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
        self.rows = {name: Row(NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in self.content.items()}

    def tensor(self, name: str) -> Tensor:
        return self.content[name].clone()


def open_tensors(path: Path) -> Tensors:
    """The tensors of a file, whichever of the two formats it has."""
    return SafeTensors(path) if path.suffix.lower() == ".safetensors" else Pickled(path)


def write_tensors(
    file: Path,
    rows: Mapping[str, Row],
    metadata: Mapping[str, str],
    tensor: Callable[[str], Tensor],
    *,
    overwrite: bool = False,
    kohya_hashes: bool = False,
    header: bytes | None = None,
) -> str:
    """Writes a safetensors file with one tensor in memory at a time, reads it back and compares. Gives its
    body's sha256.

    Tensors lie in the order of `rows`. With `kohya_hashes` the metadata get `sshs_model_hash`, the sha256 of the body,
    and `sshs_legacy_hash`, A1111's old one over the file as it would be with the `ss_` metadata alone.
    `header` is written as it is, in place of the one made here.
    """
    if is_there(file) and not overwrite:
        raise Problem("file_exists", path=file)
    make_folder(file.parent)
    clear_leftovers_of(file)
    check_space(file.parent, sum(row.bytes for row in rows.values()), one_file=True)
    blank = {"sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8} if kohya_hashes else {}
    start = header_bytes(rows, {**metadata, **blank}) if header is None else header
    written = ""

    def fill(aside: Path) -> None:
        nonlocal written
        body = hashlib.sha256()
        with aside.open("wb") as stream:
            stream.write(start)
            for name, row in rows.items():
                content = tensor_bytes(tensor(name))
                assert len(content) == row.bytes, name
                body.update(content)
                stream.write(content)
        written = body.hexdigest()
        if kohya_hashes:
            hashes = {"sshs_model_hash": written, "sshs_legacy_hash": _legacy(aside, len(start), rows, metadata)}
            with aside.open("rb+") as stream:
                stream.write(header_bytes(rows, {**metadata, **hashes}))
        if body_hash(aside, len(start)) != written:
            raise Problem("lora_written_wrong", path=file)

    fill_whole(file, fill)
    return written


def _legacy(file: Path, start: int, rows: Mapping[str, Row], metadata: Mapping[str, str]) -> str:
    """A1111's old hash of the file as it would be with kohya's own metadata alone."""
    draft = header_bytes(rows, {key: text for key, text in metadata.items() if key.startswith("ss_")})
    with file.open("rb") as stream:
        stream.seek(start)
        return legacy_hash(draft + stream.read(max(0, 0x110000 - len(draft))))


def sorted_rows(rows: Mapping[str, Row]) -> dict[str, Row]:
    """In the order in which the safetensors library lays tensors down: by number type, then by name."""
    place = {dtype: number for number, dtype in enumerate(DTYPES)}
    order = sorted(rows, key=lambda name: (place[rows[name].dtype], name))
    return {name: rows[name] for name in order}


def header_bytes(rows: Mapping[str, Row], metadata: Mapping[str, str]) -> bytes:
    """The length and the JSON of a header, filled up with blanks to eight bytes as the safetensors library does."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, row in rows.items():
        table[name] = {"dtype": row.dtype, "shape": list(row.shape), "data_offsets": [place, place + row.bytes]}
        place += row.bytes
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def tensor_bytes(tensor: Tensor) -> bytes:
    """The numbers of a tensor as safetensors files hold them: row by row, little-endian."""
    flat = tensor.detach().to("cpu").contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()
