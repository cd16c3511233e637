"""LoRAs into one LoRA: what the one does is what all of them do together."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tehon.catalog.header import read_header
from tehon.catalog.kinds import weight_shape
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.surgery.join import join, thin
from tehon.surgery.lora_layers import LoraLayers, open_lora
from tehon.surgery.merge import merge_into_model
from tehon.weights.lora_file import write_lora

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]


def dense(lora: LoraLayers, layer: str) -> Tensor:
    """B A alpha / rank, by the textbook."""
    own = lora.tensors(layer)
    down, up = own["lora_down.weight"].flatten(1), own["lora_up.weight"].flatten(1)
    return lora.strength * float(own["alpha"]) / len(down) * up @ down


def test_the_exact_sum_has_all_ranks(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    model = networks_of("sdxl", "model.safetensors")
    one, two = draw(model, rank=4, seed=1), draw(model, rank=3, seed=2, conv=False)
    out = tmp_path / "out.safetensors"
    assert main(["merge", "--lora", f"{one}:0.7", "--lora", f"{two}:-0.5", "-o", str(out)]) == 0
    joined, first, second = open_lora(out), open_lora(one, 0.7), open_lora(two, -0.5)
    assert list(joined.layers) == sorted(first.layers)
    for layer, tensors in joined.layers.items():
        wanted = dense(first, layer) + (dense(second, layer) if layer in second.layers else 0)
        assert torch.allclose(dense(joined, layer), wanted, atol=1e-6), layer
        assert tensors["lora_down.weight"][0] == (7 if layer in second.layers else 4)
        assert len(tensors["lora_down.weight"]) == len(first.layers[layer]["lora_down.weight"])
    facts = read_header(out).metadata
    assert (facts["ss_network_dim"], facts["ss_network_module"]) == ("Dynamic", "networks.lora")
    assert facts["ss_base_model_version"] == "sdxl_base_v1-0"
    assert facts["ss_training_comment"] == f"merged: {one.stem} (0.7), {two.stem} (-0.5)"


def test_a_rank_gives_the_best_approximation(networks_of: Find, draw: Draw) -> None:
    model = networks_of("sd1", "model.safetensors")
    loras = [open_lora(draw(model, rank=4, seed=seed), 0.5) for seed in (1, 2)]
    for layer, tensors in join(loras, rank=5, conv_rank=2).items():
        whole = sum(dense(lora, layer) for lora in loras)
        rank = 2 if tensors["lora_down.weight"].shape[2:] == (3, 3) else 5
        u, s, v = torch.linalg.svd(torch.as_tensor(whole).double(), full_matrices=False)
        best = (u[:, :rank] * s[:rank]) @ v[:rank]
        assert tensors["lora_down.weight"].shape[0] == rank == float(tensors["alpha"])
        got = tensors["lora_up.weight"].flatten(1) @ tensors["lora_down.weight"].flatten(1)
        assert torch.allclose(got.double(), best, atol=1e-6), layer


def test_other_kinds_come_near_through_the_model(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    """At full rank the LoRA is DoRA's and LoHa's change itself, worked out on this model."""
    model = networks_of("sd1", "model.safetensors")
    dora, loha = draw(model, "dora", conv=False), draw(model, "loha", conv=False)
    out, merged, direct = (tmp_path / f"{name}.safetensors" for name in ("out", "merged", "direct"))
    words = ["merge", str(model.path), "--lora", f"{dora}:0.5", "--lora", str(loha), "--as-lora", "--rank", "999"]
    assert main([*words, "-o", str(out)]) == 0
    merge_into_model(model, [open_lora(out)], merged)
    merge_into_model(model, [open_lora(dora, 0.5), open_lora(loha)], direct)
    rows = load_file(direct)
    assert all(torch.allclose(tensor, rows[name], atol=1e-5) for name, tensor in load_file(merged).items())


def test_a_strength_of_nothing_leaves_layers_out(networks_of: Find, draw: Draw) -> None:
    model = networks_of("sd1", "model.safetensors")
    lora = open_lora(draw(model), 1.0, 0.0, ",".join("1" if n == 12 else "0" for n in range(25)))
    assert all("mid_block" in layer for layer in join([lora]))


def test_thin_holds_the_strength(networks_of: Find, draw: Draw) -> None:
    lora = open_lora(draw(networks_of("sd1", "model.safetensors")), 0.25)
    layer = next(iter(lora.layers))
    up, down = thin(lora, layer, weight_shape(lora.layers[layer]))
    assert torch.allclose(up @ down, dense(lora, layer), atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        ("loha", [], "no LoRA equals it exactly; give a rank"),
        ("dora", ["--rank", "4"], "name the model too, with --as-lora"),
    ],
)
def test_kinds_that_cannot_are_named(
    kind: str,
    more: list[str],
    sentence: str,
    networks_of: Find,
    draw: Draw,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), kind)
    assert main(["merge", "--lora", str(file), *more, "-o", str(tmp_path / "out.safetensors")]) == 2
    assert sentence in capsys.readouterr().err


def test_families_do_not_mix(networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [draw(networks_of(family, "model.safetensors")) for family in ("sd1", "sdxl")]
    words = [word for file in files for word in ("--lora", str(file))]
    assert main(["merge", *words, "-o", str(tmp_path / "out.safetensors")]) == 2
    assert "the files are of different families (sd1, sdxl)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--lora FILE --conv-rank 2", "--conv-rank: a rank for convolutions alone is nothing"),
        ("--lora FILE --rank -1", "--rank: -1 is no rank"),
        ("--lora FILE --rank 4 --conv-rank -2", "--conv-rank: -2 is no rank"),
        ("MODEL --lora FILE --conv-rank 4", "--conv-rank: a rank is for merging into a LoRA"),
        ("--lora FILE:nan", "--lora: the strength behind"),
        ("--lora FILE --lora OTHER", "has another size than in the other files"),
    ],
)
def test_numbers_and_files_that_do_not_fit_are_refused(
    words: str, sentence: str, networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = networks_of("sd1", "model.safetensors")
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    rows = {f"{layer}.lora_down.weight": torch.ones(2, 5), f"{layer}.lora_up.weight": torch.ones(9, 2)}
    write_lora(tmp_path / "other.safetensors", rows, {}, "float")
    files = {"FILE": draw(model), "MODEL": model.path, "OTHER": tmp_path / "other.safetensors"}
    for name, path in files.items():
        words = words.replace(name, str(path))
    assert main(["merge", *words.split(), "-o", str(tmp_path / "out.safetensors")]) == 2
    assert sentence in capsys.readouterr().err
