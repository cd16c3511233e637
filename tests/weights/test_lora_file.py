from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
from tehon.weights.lora_file import read_lora, write_lora

TENSORS = {"lora_te_x.lora_down.weight": torch.randn(2, 3), "lora_te_x.lora_up.weight": torch.randn(4, 2)}


@pytest.mark.parametrize(("precision", "name"), [("float", "F32"), ("fp16", "F16"), ("bf16", "BF16")])
def test_every_tensor_has_the_precision_asked_for(tmp_path: Path, precision: str, name: str) -> None:
    file = tmp_path / "x.safetensors"
    write_lora(file, TENSORS | {"lora_te_x.alpha": torch.tensor(1.0)}, {}, precision)
    assert set(read_header(file).dtypes.values()) == {name}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_doras_lengths_are_never_rounded(tmp_path: Path, precision: str) -> None:
    file, lengths = tmp_path / "x.safetensors", 20 + 1e-3 * torch.randn(4, 1)
    write_lora(file, TENSORS | {"lora_te_x.dora_scale": lengths}, {}, precision)
    assert torch.equal(read_lora(file)["lora_te_x"]["dora_scale"], lengths)


def test_the_model_hash_is_that_of_the_body(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_lora(file, TENSORS, {"ss_seed": "1", "modelspec.title": "x"}, "float")
    header = read_header(file)
    assert header.metadata["sshs_model_hash"] == sha256(file.read_bytes()[header.body :]).hexdigest()
    assert header.metadata["sshs_legacy_hash"] == "e3b0c442", "what kohya writes for files under 1 MiB"
    assert header.metadata["ss_seed"] == "1"


def test_the_body_is_laid_down_as_the_library_lays_it(tmp_path: Path) -> None:
    """And the same LoRA is the same file: the library's own writer gives the metadata another order each time."""
    files, metadata = [tmp_path / f"{name}.safetensors" for name in "xy"], {"ss_b": "1", "ss_a": "2", "c": "3"}
    for file in files:
        write_lora(file, TENSORS | {"lora_te_x.dora_scale": torch.ones(4, 1)}, metadata, "fp16")
    header, content = read_header(files[0]), files[0].read_bytes()
    library = save(load_file(files[0]))
    assert content[header.body :] == library[8 + int.from_bytes(library[:8], "little") :]
    assert list(header.metadata)[:3] == list(metadata)
    assert files[1].read_bytes() == content


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_lora(file, TENSORS, {}, "float")
    back = read_lora(file)
    assert torch.equal(back["lora_te_x"]["lora_up.weight"], TENSORS["lora_te_x.lora_up.weight"])
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"], "nothing is left beside it"


def test_numbers_that_are_not_finite_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_lora(file, TENSORS, {}, "float")
    before = file.read_bytes()
    with pytest.raises(Problem, match="not finite in fp16"):
        write_lora(file, {"lora_te_x.lora_up.weight": torch.tensor([1e9])}, {}, "fp16")
    assert file.read_bytes() == before


def test_what_a_narrow_type_made_zero_is_named(tmp_path: Path) -> None:
    tensors = {"a.lora_up.weight": torch.tensor([1e-9, 0.0]), "b.lora_up.weight": torch.tensor([1e-9, 1.0])}
    tensors["c.lora_up.weight"] = torch.zeros(2)
    assert write_lora(tmp_path / "x.safetensors", tensors, {}, "fp16") == ["a.lora_up.weight"]
    assert write_lora(tmp_path / "x.safetensors", tensors, {}, "bf16") == []


def test_a_file_without_a_lora_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_lora(file, {"weight": torch.zeros(2)}, {}, "float")
    with pytest.raises(Problem, match="no LoRA"):
        read_lora(file)
