from pathlib import Path

import pytest
import safetensors.torch
import torch

from tehon.catalog.header import read_header, read_scalars


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_single_numbers_are_read_without_torch(tmp_path: Path, dtype: torch.dtype) -> None:
    file = tmp_path / "x.safetensors"
    tensors = {"a.alpha": torch.tensor(6, dtype=dtype), "b.alpha": torch.tensor(-3, dtype=dtype)}
    safetensors.torch.save_file(tensors | {"a.weight": torch.randn(3, 5)}, file)
    header = read_header(file)
    assert read_scalars(file, header, ["a.alpha", "b.alpha"]) == {"a.alpha": 6.0, "b.alpha": -3.0}
    assert header.layers() == {"a": {"alpha": (), "weight": (3, 5)}, "b": {"alpha": ()}}
