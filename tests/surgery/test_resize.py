"""Resizing equals a dense singular value decomposition, and the rules count as sd-scripts' resize_lora does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.surgery.factors import kept, singular_of_product
from tehon.surgery.lora_layers import LoraLayers, open_lora

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]


def dense(lora: LoraLayers, layer: str) -> tuple[Tensor, float]:
    """(B A in double precision, alpha / rank)."""
    own = lora.tensors(layer)
    down, up = own["lora_down.weight"].double().flatten(1), own["lora_up.weight"].double().flatten(1)
    return up @ down, float(own["alpha"]) / len(down)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_smaller_lora_is_the_dense_best_one(family: str, networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    file, out = draw(networks_of(family, "model.safetensors"), rank=8), tmp_path / "out.safetensors"
    assert main(["resize", str(file), "--rank", "3", "--conv-rank", "2", "-o", str(out)]) == 0
    before, after = open_lora(file), open_lora(out)
    assert after.layers.keys() == before.layers.keys()
    for layer, tensors in after.layers.items():
        whole, scale = dense(before, layer)
        rank = 2 if tensors["lora_down.weight"][2:] == (3, 3) else 3
        u, s, v = torch.linalg.svd(whole, full_matrices=False)
        got, own_scale = dense(after, layer)
        assert tensors["lora_down.weight"][0] == rank
        assert own_scale == pytest.approx(scale), "what stays is as strong as it was"
        assert torch.allclose(got, (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-6), layer


@pytest.mark.parametrize(("rule", "number"), [("sv-ratio", 2.5), ("sv-fro", 0.85), ("sv-cumulative", 0.7)])
def test_the_rules_are_those_of_sd_scripts(
    rule: str, number: float, networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the options' help there says them: counted here one singular value at a time."""
    file = draw(networks_of("sd1", "model.safetensors"), rank=8)
    out = tmp_path / "out.safetensors"
    assert main(["resize", str(file), "--rank", "6", f"--{rule}", str(number), "-o", str(out), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    before = open_lora(file)
    for layer, row in rows.items():
        s = torch.linalg.svdvals(dense(before, layer)[0]).tolist()
        wanted, total = 0, 0.0
        for value in s:
            if rule == "sv-ratio" and value <= s[0] / number:
                break
            wanted += 1
            total += value**2 if rule == "sv-fro" else value
            if rule == "sv-cumulative" and total >= number * sum(s):
                break
            if rule == "sv-fro" and total >= number**2 * sum(value**2 for value in s):
                break
        assert row["after"] == min(wanted, 6), layer
        share = sum(value**2 for value in s[: row["after"]]) / sum(value**2 for value in s)
        assert row["kept_norm"] == pytest.approx(share**0.5, abs=1e-5)
    assert len({row["after"] for row in rows.values()}) > 1
    facts = read_header(out).metadata
    assert (facts["ss_network_dim"], facts["ss_network_alpha"]) == ("Dynamic", "Dynamic")
    assert facts["ss_training_comment"].startswith(f"resized to {rule.replace('-', '_')} {number:g}, at most 6")


def test_the_product_is_decomposed_without_being_built() -> None:
    torch.manual_seed(0)
    up, down = torch.randn(70, 5), torch.randn(5, 90)
    u, s, v = singular_of_product(up, down)
    assert torch.allclose((u * s) @ v, up @ down, atol=1e-4)
    assert torch.allclose(s, torch.linalg.svdvals(up @ down)[:5], rtol=1e-5)


def test_a_layer_that_does_nothing_keeps_one_rank() -> None:
    assert kept(torch.zeros(8), 4, "sv_fro", 0.9) == 1
    assert kept(torch.tensor([1.0, 0.5]), 4) == 2


def test_the_default_name_and_half_precision(networks_of: Find, draw: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), rank=4, precision="fp16")
    assert main(["resize", str(file), "--rank", "2"]) == 0
    out = file.with_name(f"{file.stem}-rank2.safetensors")
    assert "rank 4 became 2, at least" in capsys.readouterr().out
    assert set(read_header(out).dtypes.values()) == {"F16"}
    assert read_header(out).metadata["ss_network_dim"] == "2"
    assert read_header(out).metadata["ss_output_name"] == "猫"
    assert main(["resize", str(file), "--rank", "2"]) == 2


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        ("lora", ["--rank", "0"], "--rank: 0 is no rank"),
        ("lora", ["--rank", "2", "--conv-rank", "-3"], "--conv-rank: -3 is no rank; give a whole number from 0 up"),
        ("lora", ["--rank", "2", "--sv-ratio", "nan"], "--sv-ratio: nan does not fit"),
        ("lora", ["--rank", "2", "--sv-fro", "1.5"], "--sv-fro: 1.5 does not fit"),
        ("lora", ["--rank", "2", "--sv-ratio", "0.5"], "--sv-ratio: 0.5 does not fit"),
        ("loha", ["--rank", "2"], "is no plain LoRA or LoCon"),
        ("tucker", ["--rank", "2"], "is no plain LoRA or LoCon"),
    ],
)
def test_what_cannot_be_resized_is_said(
    kind: str, words: list[str], sentence: str, networks_of: Find, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), kind)
    assert main(["resize", str(file), *words]) == 2
    assert sentence in capsys.readouterr().err
