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
