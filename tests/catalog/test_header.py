import json
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tehon.catalog.detect import find_model
from tehon.catalog.header import read_header, read_scalars
from tehon.catalog.pickled import pickled_header
from tehon.messages.problem import Problem


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_single_numbers_are_read_without_torch(tmp_path: Path, dtype: torch.dtype) -> None:
    file = tmp_path / "x.safetensors"
    tensors = {"a.alpha": torch.tensor(6, dtype=dtype), "b.alpha": torch.tensor(-3, dtype=dtype)}
    safetensors.torch.save_file(tensors | {"a.weight": torch.randn(3, 5)}, file)
    header = read_header(file)
    assert read_scalars(file, header, ["a.alpha", "b.alpha"]) == {"a.alpha": 6.0, "b.alpha": -3.0}
    assert header.layers() == {"a": {"alpha": (), "weight": (3, 5)}, "b": {"alpha": ()}}


def write(file: Path, table: dict[str, Any], body: int) -> Path:
    text = json.dumps(table).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(body))
    return file


def row(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("rows", "body", "sentence"),
    [
        ({"a": row([1 << 30, 4], 0, 16)}, 16, "the tensor a does not fit"),
        ({"a": row([2], 0, 8), "b": row([2], 4, 12)}, 12, "the tensor b does not fit"),
        ({"a": row([2], 0, 8), "b": row([2], 12, 20)}, 20, "the tensor b does not fit"),
        ({"a": row([], 4, 0)}, 4, "the tensor a does not fit"),
        ({"a": row([2], 4, 4, "F4")}, 4, "the tensor a does not fit"),
        ({"a": row([4], 0, 8, "F16")}, 7, "fetch it again"),
        ({"a": row([4], 0, 8, "BF16")}, 9, "goes on behind its last tensor"),
        ({"\ud800": row([4], 0, 4, "I8")}, 4, "is not a safetensors file"),
    ],
)
def test_a_header_that_is_not_true_is_one_sentence(
    rows: dict[str, Any], body: int, sentence: str, tmp_path: Path
) -> None:
    """The library refuses the same files."""
    file = write(tmp_path / "x.safetensors", rows, body)
    with pytest.raises(Problem, match=sentence):
        read_header(file)
    with pytest.raises(safetensors.SafetensorError):
        safetensors.torch.load_file(file)


def test_empty_tensors_and_half_characters_in_metadata_are_read(tmp_path: Path) -> None:
    rows = {"__metadata__": {"a": "\ud800x"}, "b": row([0, 4], 0, 0), "a": row([2], 0, 8), "c": row([0], 8, 8)}
    header = read_header(write(tmp_path / "x.safetensors", rows, 8))
    assert header.shapes == {"b": (0, 4), "a": (2,), "c": (0,)}
    assert header.metadata == {"a": "?x"}


def test_a_name_that_is_too_long_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="there is no such file"):
        read_header(tmp_path / ("a" * 300 + ".safetensors"))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that nobody can read is one of Linux here")
def test_what_the_system_does_not_let_us_read_is_not_called_damaged(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.symlink_to("/proc/self/mem")
    with pytest.raises(Problem, match=r"x.safetensors: the file cannot be read \(Input/output error\)"):
        read_header(file)
    (tmp_path / "model_index.json").symlink_to("/proc/self/mem")
    with pytest.raises(Problem, match=r"model_index.json: the file cannot be read \(Input/output error\)"):
        find_model(str(tmp_path))
    with pytest.raises(Problem, match=r"the file cannot be read \(Is a directory\)"):
        pickled_header(tmp_path)
