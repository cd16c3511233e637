"""Files written a tensor at a time are those that the safetensors library writes."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
from tehon.weights.lora_file import write_lora
from tehon.weights.slices import NAMES, Row, open_tensors, sorted_rows, write_tensors

torch.manual_seed(0)
TENSORS = {
    "b.half": torch.randn(3, 4).half(),
    "a.wide": torch.randn(2, 5),
    "ü.whole": torch.tensor(7),
    "c.brain": torch.randn(6).bfloat16(),
    "d.none": torch.zeros(0, 4),
    "e.yes": torch.tensor([True, False]),
    "f.eight": torch.randn(8).to(torch.float8_e4m3fn),
    "f.eight again": torch.randn(8).to(torch.float8_e5m2),
    "g.double": torch.randn(2).double(),
    "g.ints": torch.arange(5, dtype=torch.int32),
    "g.shorts": torch.arange(5, dtype=torch.int16),
    "g.bytes": torch.arange(5, dtype=torch.uint8),
    "g.signed": torch.arange(5, dtype=torch.int8),
}
ROWS = sorted_rows({name: Row(NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in TENSORS.items()})


def test_the_file_is_that_of_the_library(tmp_path: Path) -> None:
    file, metadata = tmp_path / "x.safetensors", {"text": 'a "quote"\n\t\x01 猫 \\'}
    digest = write_tensors(file, ROWS, metadata, TENSORS.__getitem__)
    assert file.read_bytes() == save(TENSORS, metadata)
    assert digest == sha256(file.read_bytes()[read_header(file).body :]).hexdigest()


def test_tensors_are_read_one_by_one(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors", {"a": "b"})
    torch.save({"state_dict": TENSORS, "global_step": 3}, tmp_path / "x.ckpt")
    for name in ("x.safetensors", "x.ckpt"):
        source = open_tensors(tmp_path / name)
        assert set(source.rows) == set(TENSORS)
        for key, tensor in TENSORS.items():
            own = source.tensor(key)
            assert own.dtype == tensor.dtype
            assert torch.equal(own.float(), tensor.float())
            assert source.rows[key] == Row(NAMES[tensor.dtype], tuple(tensor.shape))


def test_kohyas_hashes_are_those_of_the_writer_of_loras(tmp_path: Path) -> None:
    """Also where the old hash is of something, in files above a megabyte."""
    tensors = {"lora_unet_x.lora_down.weight": torch.randn(4, 70000), "lora_unet_x.lora_up.weight": torch.randn(3, 4)}
    one, two, metadata = (
        tmp_path / "1.safetensors",
        tmp_path / "2.safetensors",
        {"ss_seed": "1", "modelspec.title": "x"},
    )
    write_lora(one, tensors, metadata, "float")
    rows = sorted_rows({name: Row("F32", tuple(tensor.shape)) for name, tensor in tensors.items()})
    write_tensors(two, rows, metadata, tensors.__getitem__, kohya_hashes=True)
    with safe_open(one, "pt") as first, safe_open(two, "pt") as second:
        assert first.metadata() == second.metadata()
    assert read_header(two).metadata["sshs_legacy_hash"] != "e3b0c442"
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(two).items())


def test_nothing_is_overwritten_or_left_behind(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_text("mine")
    with pytest.raises(Problem, match="already there"):
        write_tensors(file, ROWS, {}, TENSORS.__getitem__)

    def fails(name: str) -> torch.Tensor:
        raise Problem("merge_not_finite", name=name, precision="F16")

    with pytest.raises(Problem, match="can't hold"):
        write_tensors(file, ROWS, {}, fails, overwrite=True)
    assert file.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_was_written_wrong_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tehon.weights.slices.body_hash", lambda file, start: "0" * 64)
    with pytest.raises(Problem, match="differs from what was written"):
        write_tensors(tmp_path / "x.safetensors", ROWS, {}, TENSORS.__getitem__)
    assert list(tmp_path.iterdir()) == []


def test_number_types_that_are_not_known_are_named(tmp_path: Path) -> None:
    table = json.dumps({"x": {"dtype": "F4", "shape": [1], "data_offsets": [0, 1]}}).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(table).to_bytes(8, "little") + table + b"0")
    with pytest.raises(Problem, match="number type F4"):
        open_tensors(file)


@pytest.mark.slow
def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """Copied in a process of its own: 24 tensors of 16 MB, of which one or two are in memory."""
    import subprocess
    import sys

    source, out = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    save_file({f"t{n:02d}": torch.randn(4 << 20) for n in range(24)}, source)
    code = f"""
import resource, sys
from pathlib import Path
from tehon.weights.slices import open_tensors, write_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = open_tensors(Path({str(source)!r}))
write_tensors(Path({str(out)!r}), source.rows, {{}}, source.tensor)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    if sys.platform != "linux":
        pytest.skip("memory is counted in other units there")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120, "megabytes"
    assert out.stat().st_size == source.stat().st_size
