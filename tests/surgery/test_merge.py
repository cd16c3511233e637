"""Merging into a model: the same numbers as a live LoRA, and as diffusers, in every layout and for every kind."""

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tehon.adapters.adapter import attach
from tehon.catalog.detect import find_networks
from tehon.catalog.header import read_header
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.families.family import behaviour_of
from tehon.messages.problem import Problem
from tehon.surgery.lora_layers import open_lora
from tehon.surgery.merge import merge_into_model
from tehon.training.attach import adapters_from_file

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]
Outputs = Callable[[Any, Model], list[Tensor]]


def load(model: Model) -> Any:
    """In double precision, so that of all rounding only that of the merged weights is left: a drawn network makes much
    more of it than a trained one."""
    return behaviour_of(model.family).load(model, torch.float64, torch.device("cpu"))


def live(model: Model, files: list[tuple[Path, float]], outputs: Outputs) -> list[Tensor]:
    """With the first file's adapters attached and computing; further files are merged into what they stand on."""
    parts = load(model)
    for file, strength in files:
        for adapter in adapters_from_file(behaviour_of(model.family), parts, file):
            adapter.multiplier = strength
            attach(adapter)
    return outputs(parts, model)


def distance(one: list[Tensor], two: list[Tensor]) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(one, two, strict=True))


@pytest.fixture(scope="module")
def untouched() -> dict[str, list[Tensor]]:
    """What the model of each family says without a LoRA, the same in every layout."""
    return {}


@pytest.mark.parametrize(
    ("family", "kind", "layout"),
    [
        *(
            ("sd1", kind, "model.safetensors")
            for kind in ("lora", "tucker", "loha", "lokr", "dora", "dora_input", "ia3")
        ),
        ("sd1", "lora", "folder"),
        ("sd1", "lora", "model.ckpt"),
        ("sd2", "lora", "model.safetensors"),
        ("sd2", "lora", "folder"),
        ("sdxl", "lora", "model.safetensors"),
        ("sdxl", "lokr", "folder"),
    ],
)
def test_a_merged_model_is_the_model_with_the_lora_live(
    family: str,
    kind: str,
    layout: str,
    networks_of: Find,
    draw: Draw,
    outputs: Outputs,
    untouched: dict[str, list[Tensor]],
    tmp_path: Path,
) -> None:
    model = networks_of(family, layout)
    file = draw(model, kind)
    out = tmp_path / ("out" if layout == "folder" else "out.safetensors")
    made = merge_into_model(model, [open_lora(file, 0.8)], out)
    assert made.changed == len(open_lora(file).layers)
    wanted = live(model, [(file, 0.8)], outputs)
    got = outputs(load(find_networks(str(out))), model)
    assert distance(got, wanted) < 1e-5
    if family not in untouched:
        untouched[family] = outputs(load(model), model)
    assert distance(untouched[family], wanted) > 1e-2, "the LoRA must change something for this to mean much"


def test_untouched_tensors_stay_bit_for_bit(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    model = networks_of("sd1", "model.safetensors")
    file, out = draw(model, conv=False), tmp_path / "out.safetensors"
    made = merge_into_model(model, [open_lora(file)], out)
    before, after = load_file(model.path), load_file(out)
    assert list(read_header(out).shapes) == list(read_header(model.path).shapes)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) == made.changed
    assert all(name.startswith(("model.diffusion_model", "cond_stage_model")) for name in changed)
    assert read_header(out).metadata["modelspec.merged_from"] == f"{file.stem} (1)"


def test_strengths_of_parts_and_blocks(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    """Twice as strong in block IN01, nothing in the other blocks, half in the text encoder."""
    model = networks_of("sd1", "model.safetensors")
    file = draw(model)
    blocks = " ".join("2" if n == 1 else "0" for n in range(25))
    for name, lora in (("some", open_lora(file, 0.5, 0.25, blocks)), ("full", open_lora(file, 1.0))):
        merge_into_model(model, [lora], tmp_path / f"{name}.safetensors")
    base, some, full = (
        load_file(f) for f in (model.path, tmp_path / "some.safetensors", tmp_path / "full.safetensors")
    )
    for name, factor in (
        ("model.diffusion_model.input_blocks.1.1.proj_in.weight", 1.0),
        ("model.diffusion_model.input_blocks.2.1.proj_in.weight", 0.0),
        ("cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight", 0.25),
    ):
        assert torch.allclose(some[name] - base[name], factor * (full[name] - base[name]), atol=1e-6), name
        assert not torch.equal(full[name], base[name])


def test_two_loras_are_added(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    model = networks_of("sd1", "model.safetensors")
    one, two = draw(model, seed=1), draw(model, "dora", seed=2)
    both, first, second = (tmp_path / f"{name}.safetensors" for name in ("both", "first", "second"))
    merge_into_model(model, [open_lora(one, 0.5), open_lora(two, -0.3)], both)
    merge_into_model(model, [open_lora(one, 0.5)], first)
    merge_into_model(model, [open_lora(two, -0.3)], second)
    base, added, taken = load_file(model.path), load_file(first), load_file(second)
    for name, tensor in load_file(both).items():
        alone = added[name] + taken[name] - base[name]
        assert torch.allclose(tensor, alone, atol=1e-5), name


def test_half_precision_is_rounded_once(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    model = networks_of("sdxl", "model.safetensors")
    file, out, exact = draw(model, conv=False), tmp_path / "out.safetensors", tmp_path / "exact.safetensors"
    merge_into_model(model, [open_lora(file)], out, precision="fp16")
    merge_into_model(model, [open_lora(file)], exact)
    half = load_file(out)
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert all(torch.equal(half[name], tensor.half()) for name, tensor in load_file(exact).items())


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_fuses_the_same_weights(family: str, models: Any, draw: Draw, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    folder = models(family, "folder")
    model = find_networks(str(folder))
    file = draw(model, conv=True)
    merge_into_model(model, [open_lora(file, 0.7)], tmp_path / "out")
    kind: Any = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipe = kind.from_pretrained(folder, local_files_only=True)
    pipe.load_lora_weights(str(file))
    pipe.fuse_lora(lora_scale=0.7)
    pipe.unload_lora_weights()
    ours = kind.from_pretrained(tmp_path / "out", local_files_only=True)
    for part in model.family.adapter_roots.values():
        theirs = getattr(pipe, part).state_dict()
        for name, tensor in getattr(ours, part).state_dict().items():
            assert torch.allclose(tensor, theirs[name], atol=1e-5), name


def test_sdxl_loras_with_diffusers_names_are_understood(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from tehon.catalog.lora_names import layer_place

    model = networks_of("sdxl", "model.safetensors")
    file, renamed = draw(model), tmp_path / "renamed.safetensors"
    rows = {}
    for key, tensor in load_file(file).items():
        layer, _, name = key.partition(".")
        place = layer_place(layer)
        assert place is not None
        rows[f"{place.root}_{place.path.replace('.', '_')}.{name}"] = tensor
    save_file(rows, renamed, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert "lora_unet_down_blocks_1_attentions_0_proj_in.alpha" in rows
    for name, source in (("a", file), ("b", renamed)):
        merge_into_model(model, [open_lora(source)], tmp_path / f"{name}.safetensors")
    one, two = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_the_command(networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = networks_of("sd1", "model.safetensors")
    file, out = draw(model), tmp_path / "out.safetensors"
    zeros = ",".join(["0"] * 25)
    words = ["merge", str(model.path), "--lora", f"{file}:0.5", "--blocks", zeros, "--lora", f"{file}:0.5:0"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "layers": 301, "tensors": 996}
    expected = tmp_path / "expected.safetensors"
    merge_into_model(model, [open_lora(file, 0.5, blocks=zeros), open_lora(file, 0.5, 0.0)], expected)
    assert out.read_bytes()[-1000:] == expected.read_bytes()[-1000:]
    assert main([*words, "--out", str(out)]) == 2
    assert "is already there" in capsys.readouterr().err
    assert main([*words, "--out", str(out), "--overwrite"]) == 0
    assert f"301 layers of the model changed, written to {out}" in capsys.readouterr().out
    assert main([*words, "--out", str(model.path), "--overwrite"]) == 2
    assert "take the place of the model itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--lora", "LORA", "--blocks", "1,2"], "--blocks: it has 2 numbers where this model has 25 blocks"),
        (["--lora", "LORA", "--blocks", "a"], "--blocks: a is not a list of numbers"),
        (["--lora", "XL"], "layers match the model"),
        (["--lora", "LORA", "--rank", "4"], "--rank: a rank is for merging into a LoRA"),
        (["--lora", "MODEL"], "there is no LoRA in this file"),
        ([], "give at least one LoRA"),
    ],
)
def test_what_can_be_put_right_is_said(
    words: list[str], sentence: str, networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, xl = networks_of("sd1", "model.safetensors"), networks_of("sdxl", "model.safetensors")
    places = {"LORA": lambda: draw(model), "XL": lambda: draw(xl), "MODEL": lambda: model.path}
    given = [str(places[word]()) if word in places else word for word in words]
    assert main(["merge", str(model.path), *given, "--out", str(tmp_path / "out.safetensors")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_numbers_beyond_half_precision_are_refused_and_nothing_is_left(
    networks_of: Find, draw: Draw, tmp_path: Path
) -> None:
    model = networks_of("sd1", "model.safetensors")
    with pytest.raises(Problem, match="can't hold"):
        merge_into_model(model, [open_lora(draw(model), 1e7)], tmp_path / "x" / "out.safetensors", precision="fp16")
    assert list((tmp_path / "x").iterdir()) == []


def test_a_disk_that_does_not_take_the_copied_parts_is_a_sentence(
    networks_of: Find, draw: Draw, tmp_path: Path
) -> None:
    """Here by a limit on the size of files."""
    resource = pytest.importorskip("resource", reason="limits are set in Unix's way")
    model, out = networks_of("sd1", "folder"), tmp_path / "x" / "out"
    loras = [open_lora(draw(model))]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises(Problem, match="out: no file may be as large as this one there"):
            merge_into_model(model, loras, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need no rights on other systems")
def test_parts_that_are_links_are_copied_whole(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    own, linked, out = networks_of("sd1", "folder").path, tmp_path / "linked", tmp_path / "out"
    linked.mkdir()
    for place in own.iterdir():
        (linked / place.name).symlink_to(place)
    model = find_networks(str(linked))
    merge_into_model(model, [open_lora(draw(model))], out)
    assert {file.relative_to(out) for file in out.rglob("*")} == {file.relative_to(own) for file in own.rglob("*")}
    assert not any(file.is_symlink() for file in out.rglob("*"))


def test_a_folder_of_the_model_that_cannot_be_listed_is_a_sentence(
    networks_of: Find, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scandir = networks_of("sd1", "folder"), os.scandir
    loras = [open_lora(draw(model))]

    def refuse(path: Any) -> Any:
        if str(path) == str(model.path / "tokenizer"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(Problem, match=r"tokenizer: this folder of the model cannot be read \(Permission denied\)"):
        merge_into_model(model, loras, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize("out", ["", "..", "unet/inside"])
def test_a_model_is_never_merged_over_into_or_around_itself(
    out: str, networks_of: Find, draw: Draw, tmp_path: Path
) -> None:
    model = networks_of("sd1", "folder")
    before = sorted(model.path.rglob("*"))
    with pytest.raises(Problem, match="take the place of the model itself"):
        merge_into_model(model, [open_lora(draw(model))], model.path / out, overwrite=True)
    assert sorted(model.path.rglob("*")) == before
