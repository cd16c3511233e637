"""What extract takes out of (base + LoRA) is that LoRA's change."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tehon.catalog.header import read_header
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.surgery.lora_layers import LoraLayers, open_lora
from tehon.surgery.merge import merge_into_model

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]
ABSENT = "mps" if torch.cuda.is_available() else "cuda"


@pytest.mark.parametrize(("family", "layout"), [("sd1", "folder"), ("sd2", "model.safetensors"), ("sdxl", "folder")])
def test_the_change_of_a_merged_lora_comes_back(
    family: str, layout: str, networks_of: Find, draw: Draw, tmp_path: Path
) -> None:
    """Also where the base is a file and the tuned model a folder, or the other way round."""
    model, other = networks_of(family, layout), networks_of(family, "model.safetensors")
    file, out = draw(model, rank=4), tmp_path / "out.safetensors"
    tuned = tmp_path / ("tuned" if layout == "folder" else "tuned.safetensors")
    merge_into_model(model, [open_lora(file)], tuned)
    words = ["extract", str(other.path), str(tuned), "--rank", "4", "--conv-rank", "4", "--precision", "float"]
    assert main([*words, "-o", str(out)]) == 0
    got, wanted = open_lora(out), open_lora(file)
    assert got.layers.keys() == wanted.layers.keys()
    for layer in wanted.layers:
        one, two = got.tensors(layer), wanted.tensors(layer)
        assert one["lora_down.weight"].shape == two["lora_down.weight"].shape
        delta = one["lora_up.weight"].flatten(1) @ one["lora_down.weight"].flatten(1)
        own = 0.5 * two["lora_up.weight"].flatten(1) @ two["lora_down.weight"].flatten(1)  # alpha is half the rank
        assert torch.allclose(delta, own, atol=2e-6), layer
        assert float(one["alpha"]) == 4
    facts = read_header(out).metadata
    assert facts["ss_base_model_version"] == model.family.labels[model.prediction].base_version


def test_full_rank_gives_any_difference_back(networks_of: Find, tmp_path: Path) -> None:
    """Merged into the base again, the tuned model's own weights come out."""
    model = networks_of("sd1", "model.safetensors")
    torch.manual_seed(0)
    rows = {name: tensor + 0.02 * torch.randn(tensor.shape) for name, tensor in load_file(model.path).items()}
    tuned, lora, back = (tmp_path / f"{name}.safetensors" for name in ("tuned", "lora", "back"))
    save_file(rows, tuned)
    words = ["extract", str(model.path), str(tuned), "--rank", "9999", "--conv-rank", "9999", "--precision", "float"]
    assert main([*words, "-o", str(lora)]) == 0
    merge_into_model(model, [open_lora(lora)], back)
    merged, base = load_file(back), load_file(model.path)
    changed = [name for name in rows if not torch.equal(merged[name], base[name])]
    assert len(changed) == len(open_lora(lora).layers) == 301
    assert all(torch.allclose(merged[name], rows[name], atol=2e-6) for name in changed)


def test_a_smaller_rank_is_the_best_one(
    networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = networks_of("sd1", "model.safetensors")
    file, tuned, out = draw(model, rank=8), tmp_path / "tuned.safetensors", tmp_path / "out.safetensors"
    merge_into_model(model, [open_lora(file)], tuned)
    words = ["extract", str(model.path), str(tuned), "--rank", "6", "--sv-fro", "0.9", "-o", str(out), "--json"]
    assert main(words) == 0
    report = {row["name"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    wanted = open_lora(file)
    assert len(report) == 24 + 192, "without a conv rank only the transformers' layers"
    for layer, row in report.items():
        own = wanted.tensors(layer)
        s = torch.linalg.svdvals((own["lora_up.weight"].flatten(1) @ own["lora_down.weight"].flatten(1)).double())
        shares = s.square().cumsum(0).sqrt() / s.norm()
        rank = min(6, 1 + int((shares < 0.9).sum()))
        assert row["rank"] == rank, layer
        assert row["kept_norm"] == pytest.approx(float(shares[rank - 1]), abs=1e-4)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [("sd1", "do not differ in any layer"), ("sdxl", "the two models are of different families (sd1 and sdxl)")],
)
def test_models_that_do_not_fit_are_refused(
    second: str, sentence: str, networks_of: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(networks_of(family, "model.safetensors").path) for family in ("sd1", second)]
    assert main(["extract", *paths, "-o", str(tmp_path / "out.safetensors")]) == 2
    assert sentence in capsys.readouterr().err


def test_what_is_left_out_is_said(
    networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = networks_of("sd1", "model.safetensors")
    file, tuned, out = draw(model, rank=4), tmp_path / "tuned.safetensors", tmp_path / "out.safetensors"
    merge_into_model(model, [open_lora(file)], tuned)
    assert main(["extract", str(model.path), str(tuned), "--rank", "4", "-o", str(out), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    held = {row["name"] for row in data["layers"]}
    lora = open_lora(file)
    norms = {layer: float(dense(lora, layer).norm()) for layer in lora.layers}
    share = sum(norms[layer] ** 2 for layer in norms.keys() - held) / sum(norm**2 for norm in norms.values())
    assert data["left_out"] == {"layers": 301 - 216, "share": pytest.approx(share**0.5, rel=1e-4)}
    assert main(["extract", str(model.path), str(tuned), "--rank", "4", "-o", str(out), "--overwrite"]) == 0
    assert f"85 more layers differ and are left out, the convolutions around the transformers: {share**0.5:.1%}" in (
        capsys.readouterr().out
    )


def dense(lora: LoraLayers, layer: str) -> torch.Tensor:
    own = lora.tensors(layer)
    down, up = own["lora_down.weight"].flatten(1), own["lora_up.weight"].flatten(1)
    return up @ down * float(own["alpha"]) / len(down)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--rank 0", "--rank: 0 is no rank"),
        ("--rank -3", "--rank: -3 is no rank"),
        ("--rank 4 --conv-rank -2", "--conv-rank: -2 is no rank"),
        ("--rank 4 --sv-ratio 0", "--sv-ratio: 0.0 does not fit"),
        ("--rank 4 --sv-fro nan", "--sv-fro: nan does not fit"),
        ("--rank 4 --sv-fro 7", "--sv-fro: 7.0 does not fit"),
        (f"--device {ABSENT}", f"--device: this machine has no {ABSENT} device"),
    ],
)
def test_numbers_that_are_none_are_refused(
    words: str, sentence: str, networks_of: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(networks_of("sd1", "model.safetensors").path)
    assert main(["extract", path, path, *words.split(), "-o", str(tmp_path / "out.safetensors")]) == 2
    assert sentence in capsys.readouterr().err
