"""Reading the weights of one part of a diffusers folder, in all the layouts there are."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tehon.catalog.weight_files import weight_files
from tehon.messages.problem import Problem
from tehon.weights.folder import read_part

ONE = {"a.weight": torch.arange(6.0).view(2, 3)}
TWO = {"b.bias": torch.ones(4)}


def names(folder: Path) -> list[str]:
    return [file.name for file in weight_files(folder)]


def test_the_plain_file_comes_before_variants_and_pickles(tmp_path: Path) -> None:
    for name in ("model.fp16.safetensors", "model.safetensors", "model.non_ema.safetensors"):
        save_file(ONE, tmp_path / name)
    torch.save(TWO, tmp_path / "pytorch_model.bin")
    assert names(tmp_path) == ["model.safetensors"]
    (tmp_path / "model.safetensors").unlink()
    assert names(tmp_path) == ["model.fp16.safetensors"]
    assert torch.equal(read_part(tmp_path)["a.weight"], ONE["a.weight"])


def test_shards_are_read_together(tmp_path: Path) -> None:
    save_file(ONE, tmp_path / "model-00001-of-00002.safetensors")
    save_file(TWO, tmp_path / "model-00002-of-00002.safetensors")
    places = {"a.weight": "model-00001-of-00002.safetensors", "b.bias": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert set(read_part(tmp_path)) == {"a.weight", "b.bias"}


@pytest.mark.parametrize("text", ["", '{"weight_map": ', "[]", '{"weight_map": []}', "{}"])
def test_a_damaged_index_is_a_sentence_that_names_it(tmp_path: Path, text: str) -> None:
    save_file(ONE, tmp_path / "model-00001-of-00001.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(Problem) as caught:
        weight_files(tmp_path)
    assert caught.value.key == "model_unreadable"
    assert str(index) in str(caught.value)


def test_pickles_are_read_when_there_is_nothing_else(tmp_path: Path) -> None:
    torch.save(TWO, tmp_path / "pytorch_model.bin")
    assert torch.equal(read_part(tmp_path)["b.bias"], TWO["b.bias"])


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("owned"),)  # type: ignore[return-value]


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    part = tmp_path / "unet"
    part.mkdir()
    torch.save({"a": Hostile()}, part / "pytorch_model.bin")
    with pytest.raises(Problem, match="cannot be loaded"):
        read_part(part)
    (part / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(Problem, match="cannot be loaded"):
        read_part(part)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_cut_off_file_is_one_sentence(tmp_path: Path, keep: int) -> None:
    save_file(ONE, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(Problem, match=r"model\.safetensors cannot be loaded"):
        read_part(tmp_path)


def test_a_folder_without_weights_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="fetch the whole folder"):
        read_part(tmp_path)
