"""What inspect says: norms by another formula, hashes by hand, and who reads how much."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tehon.catalog.header import read_header
from tehon.catalog.lora_names import block_names
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.surgery.look import look

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]


def test_norms_by_block_are_those_of_the_dense_changes(networks_of: Find, draw: Draw) -> None:
    model = networks_of("sdxl", "model.safetensors")
    file = draw(model)
    rows = load_file(file)
    layers = {name.partition(".")[0] for name in rows}
    blocks = block_names(layers, model.family)
    norms = look(file)["norms"]
    assert list(norms) == ["lora_te1", "lora_te2", *(f"IN{n:02d}" for n in range(1, 9)), "MID0", "MID1", "MID2",
                           *(f"OUT{n:02d}" for n in range(9))]  # fmt: skip
    for block, row in norms.items():
        own = [layer for layer in layers if blocks[layer] == block]
        assert row["layers"] == len(own)
        squares = []
        for layer in own:
            down, up = rows[f"{layer}.lora_down.weight"].flatten(1), rows[f"{layer}.lora_up.weight"].flatten(1)
            squares.append(float((up @ down).norm() * rows[f"{layer}.alpha"] / len(down)) ** 2)
        assert row["norm"] == pytest.approx(sum(squares) ** 0.5, rel=1e-4)
        assert row["largest"] == pytest.approx(max(squares) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("kind", ["tucker", "loha", "lokr", "dora", "ia3"])
def test_norms_of_other_kinds(kind: str, networks_of: Find, draw: Draw) -> None:
    """The LoRAs are drawn with a norm of 0.1 √(outputs / 3) in each layer."""
    file = draw(networks_of("sd1", "model.safetensors"), kind)
    data = look(file)
    row = data["norms"]["lora_te"]
    if kind in ("dora", "ia3"):
        assert row["norm"] is None, "it depends on the model"
        return
    outs = [64, 64, 64, 64, 128, 64] * 4  # an encoder of four layers, 64 wide
    assert row["norm"] == pytest.approx((sum(0.01 * out / 3 for out in outs)) ** 0.5, rel=1e-3)


def test_hashes_are_taken_from_the_file(networks_of: Find, draw: Draw, tmp_path: Path) -> None:
    file = draw(networks_of("sdxl", "model.safetensors"), rank=16)
    content, header = file.read_bytes(), read_header(file)
    assert len(content) > 0x110000, "so that the old hash is of something"
    found = look(file, norms=False)["hashes"]
    whole, body = hashlib.sha256(content).hexdigest(), hashlib.sha256(content[header.body :]).hexdigest()
    assert found["sha256"] == whole
    assert (found["autov2"], found["autov3"]) == (whole[:10], body[:12])
    assert found["legacy"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert found["sshs_model_hash"] == body == header.metadata["sshs_model_hash"]
    assert found["hash_holds"] is True
    changed = tmp_path / "changed.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(file).items()}, changed, header.metadata)
    assert look(changed, norms=False)["hashes"]["hash_holds"] is False


def test_the_command_says_it_all(networks_of: Find, draw: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), "loha", rank=4)
    assert main(["inspect", str(file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["family"] == "sd1"
    assert (data["ranks"], data["alphas"]) == ({"4": 301}, {"2": 301})
    assert data["types"] == {"F32": 5 * 301}
    rows = {row["name"]: (row["matched"], row["total"], row["knows_kind"]) for row in data["readers"]}
    assert rows == {"A1111": (301, 301, True), "ComfyUI and Forge": (301, 301, True), "diffusers": (0, 301, False)}
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    for text in ("Alphas     2: 301", "301 of 301 layers in A1111", "by block", "AutoV3", "  MID ", "█"):
        assert text in shown, text
    assert main(["inspect", str(file), "--no-norms"]) == 0
    assert "by block" not in capsys.readouterr().out


def test_a_file_that_is_no_lora_is_shown_as_it_is(models: Callable[[str, str], Path]) -> None:
    data = look(models("sd1", "model.safetensors"))
    assert (data["family"], data["norms"], data["readers"]) == (None, {}, [])
    assert data["tensors"] == 996


def test_a_hash_that_does_not_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.safetensors"
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    rows = {f"{layer}.lora_down.weight": torch.ones(2, 3), f"{layer}.lora_up.weight": torch.ones(3, 2)}
    save_file(rows, file, {"sshs_model_hash": "0xabc"})
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "give another hash, 0xabc" in shown
    assert "Alphas     none: 1" in shown


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_shown(
    number: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = damaged(tmp_path / "x.safetensors", number)
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "  MID             nan" in shown
    assert f"1 tensor holds numbers that are not finite (NaN or infinite), {LAYER}.lora_up.weight first" in shown
    assert main(["inspect", str(file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(text))
    assert data["norms"]["MID"] == {"norm": None, "largest": None, "layers": 1, "finite": False}
    assert data["not_finite"] == [f"{LAYER}.lora_up.weight"]


LAYER = "lora_unet_mid_block_attentions_0_proj_in"


def damaged(file: Path, number: float) -> Path:
    rows = {f"{LAYER}.lora_down.weight": torch.ones(4, 3), f"{LAYER}.lora_up.weight": torch.ones(3, 4)}
    rows[f"{LAYER}.lora_up.weight"][1, 2] = number
    save_file(rows, file)
    return file


@pytest.mark.parametrize(
    "command",
    ["resize FILE --rank 2", "merge --lora FILE", "merge --lora FILE --rank 2", "cut FILE 2", "convert FILE --to peft"],
)
def test_tools_refuse_numbers_that_are_not_finite(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And notice what is already there before that."""
    file, out = damaged(tmp_path / "x.safetensors", float("nan")), tmp_path / "out.safetensors"
    words = [*command.replace("FILE", str(file)).split(), "-o", str(out)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{file}: {LAYER}.lora_up.weight holds numbers that are not finite"), said
    assert not out.exists()
    if command.startswith(("resize", "merge", "convert")):
        out.touch()
        assert main(words) == 2
        assert "is already there" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inspect FILE", "resize FILE --rank 1", "merge --lora FILE", "cut FILE 1",
                                     "convert FILE --to diffusers", "merge sd1 --lora FILE"])  # fmt: skip
@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_down.weight": (4, 3)},
        {"lora_up.weight": (3, 4), "lora_down.weight": (2, 3)},
        {"lora_up.weight": (3, 4), "lora_down.weight": (4, 3), "alpha": (3,)},
        {"lora_up.weight": (3, 0), "lora_down.weight": (0, 3)},
        {"lora_up.weight": (3,), "lora_down.weight": (3,)},
        {"lora_up.weight": (), "lora_down.weight": ()},
    ],
)
def test_a_layer_that_is_not_whole_is_one_sentence(
    tensors: dict[str, tuple[int, ...]],
    command: str,
    tmp_path: Path,
    models: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "x.safetensors"
    save_file({f"{LAYER}.{name}": torch.ones(shape) for name, shape in tensors.items()}, file)
    words = command.replace("FILE", str(file)).replace("sd1", str(models("sd1", "model.safetensors"))).split()
    assert main(words if words[0] == "inspect" else [*words, "-o", str(tmp_path / "out.safetensors")]) == 2
    assert "a tensor is missing or there twice, or its tensors do not fit each other" in capsys.readouterr().err


def test_names_that_are_too_long_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, long = damaged(tmp_path / "x.safetensors", 1.0), str(tmp_path / ("a" * 300 + ".safetensors"))
    for words in (["inspect", long], ["merge", "--lora", long, "-o", "x.safetensors"], ["cut", long, "1"]):
        assert main(words) == 2
        assert "there is no such file" in capsys.readouterr().err
    for words in (["resize", str(file), "--rank", "1"], ["cut", str(file), "1"], ["convert", str(file), "--to", "peft"],
                  ["convert", str(file), "--to", "diffusers"], ["merge", "--lora", str(file)]):  # fmt: skip
        assert main([*words, "-o", long]) == 2
        assert "too long" in capsys.readouterr().err
