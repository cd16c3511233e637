"""There and back the same bytes; diffusers and peft load what comes out and fuse it to the same weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tehon.catalog.detect import find_networks
from tehon.catalog.header import read_header
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.surgery.convert import convert
from tehon.surgery.lora_keys import diffusers_name, kohya_name, read_key
from tehon.surgery.lora_layers import open_lora
from tehon.surgery.merge import merge_into_model
from tehon.weights.lora_file import read_lora, write_lora

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]


@pytest.mark.parametrize(
    ("family", "precision"), [("sd1", "float"), ("sd1", "bf16"), ("sd2", "fp16"), ("sdxl", "fp16")]
)
def test_there_and_back_are_the_same_bytes(family: str, precision: str, networks_of: Find, draw: Draw) -> None:
    file = draw(networks_of(family, "model.safetensors"), precision=precision)
    there, back = file.with_name("there.safetensors"), file.with_name("back.safetensors")
    assert main(["convert", str(file), "--to", "diffusers", "-o", str(there)]) == 0
    names = list(read_header(there).shapes)
    assert all(name.endswith(("lora_A.weight", "lora_B.weight")) for name in names)
    assert "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_A.weight" in names
    assert "tehon_header" not in read_header(there).metadata, "our own files come back by the rules alone"
    assert main(["convert", str(there), "--to", "kohya", "-o", str(back)]) == 0
    assert back.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("change", ["order", "alpha", "no alpha", "no metadata", "padding"])
def test_files_that_others_wrote_come_back_too(change: str, networks_of: Find, draw: Draw) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), conv=False, precision="fp16")
    tensors, metadata = load_file(file), dict(read_header(file).metadata)
    if change == "alpha":  # in another number type than the rest, and of other values in one layer
        for name in [name for name in tensors if name.endswith(".alpha")]:
            tensors[name] = torch.tensor(7.0 if "mid" in name else 1.5, dtype=torch.bfloat16)
    elif change == "no alpha":
        tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(".alpha")}
    elif change == "no metadata":
        metadata = {}
    save_file(tensors, file, metadata or None)
    if change in ("order", "padding"):
        write_otherwise(file, backwards=change == "order")
    there, back = file.with_name("there.safetensors"), file.with_name("back.safetensors")
    convert(file, there, "diffusers")
    assert "tehon_header" in read_header(there).metadata or change == "order"
    convert(there, back, "kohya")
    assert back.read_bytes() == file.read_bytes()


def write_otherwise(file: Path, backwards: bool) -> None:
    """With tensors in the opposite order, or with blanks that the library would not write."""
    rows = load_file(file)
    table: dict[str, Any] = {"__metadata__": read_header(file).metadata}
    body, place = b"", 0
    for name in sorted(rows, reverse=backwards):
        content = rows[name].numpy().tobytes()
        table[name] = {"dtype": "F16", "shape": list(rows[name].shape), "data_offsets": [place, place + len(content)]}
        body, place = body + content, place + len(content)
    text = json.dumps(table).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_what_diffusers_itself_saved_comes_back(models: Any, tmp_path: Path) -> None:
    """diffusers -> kohya -> diffusers, with ranks and alphas that differ from layer to layer."""
    pipe = pipeline(models, "sd1")
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(0)
    patterns = {"rank_pattern": {"attn2.to_k": 3}, "alpha_pattern": {"attn2.to_k": 5}}
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_k", "proj_in"], **patterns)
    pipe.unet.add_adapter(config)
    rows = {name: torch.randn(t.shape) for name, t in get_peft_model_state_dict(pipe.unet).items()}
    metadata = config.to_dict()
    pipe.save_lora_weights(tmp_path, unet_lora_layers=rows, unet_lora_adapter_metadata=metadata)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    kohya, back = tmp_path / "kohya.safetensors", tmp_path / "back.safetensors"
    convert(file, kohya, "kohya")
    convert(kohya, back, "diffusers")
    assert back.read_bytes() == file.read_bytes()
    own = open_lora(kohya)
    assert own.family.name == "sd1"
    place = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    assert own.layers[place]["lora_down.weight"][0] == 3
    assert float(own.tensors(place)["alpha"]) == 5
    assert float(own.tensors(place.replace("attn2", "attn1"))["alpha"]) == 2
    facts = read_header(kohya).metadata
    assert (facts["ss_network_module"], facts["ss_network_dim"]) == ("networks.lora", "Dynamic")
    assert len(facts["sshs_model_hash"]) == 64
    merge_into_model(find_networks(str(models("sd1", "folder"))), [own], tmp_path / "ours")
    theirs = pipeline(models, "sd1")
    theirs.load_lora_weights(str(file))
    same_weights(theirs, pipeline_of(tmp_path / "ours", "sd1"), ["unet"])


def pipeline(models: Any, family: str) -> Any:
    return pipeline_of(models(family, "folder"), family)


def pipeline_of(folder: Path, family: str) -> Any:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    kind: Any = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    return kind.from_pretrained(folder, local_files_only=True)


def same_weights(theirs: Any, ours: Any, parts: list[str]) -> None:
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    for part in parts:
        rows = getattr(theirs, part).state_dict()
        for name, tensor in getattr(ours, part).state_dict().items():
            assert torch.allclose(tensor, rows[name], atol=1e-5), name


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_fuses_the_converted_file_to_the_same_weights(
    family: str, models: Any, draw: Draw, tmp_path: Path
) -> None:
    """Ranks and alphas by layer are what diffusers reads out of the metadata."""
    model = find_networks(str(models(family, "folder")))
    one, two = draw(model, rank=4, conv=False), draw(model, rank=6, seed=1)
    rows: dict[str, Tensor] = load_file(two) | load_file(one)  # the layers around the transformers have another rank
    file = tmp_path / "mixed.safetensors"
    write_lora(file, rows, {"ss_base_model_version": model.family.labels["epsilon"].base_version}, "float")
    there = tmp_path / "there.safetensors"
    convert(file, there, "diffusers")
    merge_into_model(model, [open_lora(file)], tmp_path / "ours")
    pipe = pipeline(models, family)
    pipe.load_lora_weights(str(there))
    same_weights(pipe, pipeline_of(tmp_path / "ours", family), list(model.family.adapter_roots.values()))


def test_peft_loads_the_converted_folder(models: Any, draw: Draw, tmp_path: Path) -> None:
    from peft import PeftModel

    model = find_networks(str(models("sd1", "folder")))
    file, folder, back = draw(model), tmp_path / "peft", tmp_path / "back.safetensors"
    assert main(["convert", str(file), "--to", "peft", "-o", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["text_encoder", "unet"]
    merge_into_model(model, [open_lora(file)], tmp_path / "ours")
    theirs, ours = pipeline(models, "sd1"), pipeline_of(tmp_path / "ours", "sd1")
    for part in ("unet", "text_encoder"):
        loaded: Any = PeftModel.from_pretrained(getattr(theirs, part), str(folder / part))
        rows = loaded.merge_and_unload().state_dict()
        for name, tensor in getattr(ours, part).state_dict().items():
            assert torch.allclose(tensor, rows[name], atol=1e-5), name
    assert main(["convert", str(folder), "--to", "kohya", "-o", str(back)]) == 0
    assert back.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "today"),
    [
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight", "attn1.to_q.lora_A"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight", "to_out.0.lora_B"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora.up.weight", "attn2.to_v.lora_B"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight", "q_proj.lora_A"),
        ("unet.mid_block.attentions.0.proj_in.lora_A.default_0.weight", "proj_in.lora_A"),
    ],
)
def test_older_names_of_diffusers_are_understood(name: str, today: str, networks_of: Find) -> None:
    family = networks_of("sd1", "model.safetensors").family
    key = read_key(name, family)
    assert key is not None
    assert diffusers_name(key).endswith(f"{today}.weight")
    assert read_key(kohya_name(key, family), family) == key


def test_other_commands_say_which_one_gives_a_file_the_names_they_read(
    networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = networks_of("sd1", "model.safetensors")
    file = draw(model, "lora")
    theirs, folder = tmp_path / "theirs.safetensors", tmp_path / "peft"
    convert(file, theirs, "diffusers")
    convert(file, folder, "peft")
    part = folder / "unet" / "adapter_model.safetensors"
    out = str(tmp_path / "out.safetensors")
    for given, named in ((theirs, theirs), (part, folder), (folder, folder)):
        for words in (
            ["merge", "--lora", str(given), "--out", out],
            ["resize", str(given), "--rank", "1", "--out", out],
            ["cut", str(given), "1", "--out", out],
            ["sample", "demo", "a", "--lora", str(given)],
            *([["convert", str(given), "--to", "kohya", "--out", out]] if given == part else []),
        ):
            assert main(words) == 2
            remedy = f"write it under kohya's names by tehon convert {named} --to kohya, and give that file."
            assert remedy in capsys.readouterr().err, words
    with pytest.raises(Problem, match="are named as diffusers does"):
        read_lora(theirs)
    for given, naming in ((theirs, "diffusers"), (part, "peft"), (file, "")):
        assert main(["inspect", str(given), "--no-norms"]) == 0
        line = f"Names      of {naming}, which tehon convert reads (--to kohya) and no other command"
        assert (line in capsys.readouterr().out) == bool(naming)
    assert main(["convert", str(folder), "--to", "kohya", "--out", out]) == 0
    assert main(["merge", "--lora", out, "--out", str(tmp_path / "merged.safetensors")]) == 0


@pytest.mark.parametrize("kind", ["loha", "dora", "ia3", "tucker"])
def test_kinds_that_only_kohya_names_are_refused(
    kind: str, networks_of: Find, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), kind, conv=kind == "tucker")
    assert main(["convert", str(file), "--to", "diffusers"]) == 2
    assert "is no part of a plain LoRA" in capsys.readouterr().err
    assert not file.with_name(f"{file.stem}-diffusers.safetensors").exists()


def test_a_header_that_is_not_of_these_tensors_is_passed_over(networks_of: Find, draw: Draw) -> None:
    """Somebody changed the tensors after the conversion, or wrote nonsense there."""
    file = draw(networks_of("sd1", "model.safetensors"), conv=False)
    there, back = file.with_name("there.safetensors"), file.with_name("back.safetensors")
    convert(file, there, "diffusers")
    before = load_file(file)
    for header in ('{"a": 1}', "[[[", '{"lora_unet_x.alpha": {"dtype": "F9", "shape": [], "data_offsets": [0, 4]}}'):
        save_file(load_file(there), there, {**read_header(there).metadata, "tehon_header": header})
        convert(there, back, "kohya", overwrite=True)
        assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(back).items())


@pytest.mark.parametrize("order", ["by the rules", "by the header"])
def test_hashes_are_true_when_the_tensors_were_changed_in_between(
    order: str, networks_of: Find, draw: Draw, tmp_path: Path
) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), conv=False)
    if order == "by the header":
        rows, metadata = load_file(file), dict(read_header(file).metadata)
        rows |= {name: tensor.bfloat16() for name, tensor in rows.items() if name.endswith(".alpha")}
        save_file(rows, file, metadata)  # the hash in it is not true, and stays so where nothing is changed
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    convert(file, there, "diffusers")
    assert ("tehon_header" in read_header(there).metadata) == (order == "by the header")
    convert(there, back, "kohya")
    assert back.read_bytes() == file.read_bytes()
    save_file({name: tensor / 2 for name, tensor in load_file(there).items()}, there, read_header(there).metadata)
    convert(there, back, "kohya", overwrite=True)
    header = read_header(back)
    assert header.metadata["sshs_model_hash"] == hashlib.sha256(back.read_bytes()[header.body :]).hexdigest()
    assert header.metadata["ss_output_name"] == "猫"
    assert "tehon_body" not in header.metadata


def test_settings_of_peft_that_are_none_are_one_sentence(
    networks_of: Find, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(draw(networks_of("sd1", "model.safetensors"), conv=False), tmp_path / "peft", "peft")
    config = tmp_path / "peft" / "unet" / "adapter_config.json"
    for text in ("[" * 100_000, "{}", '{"lora_alpha": NaN}', '{"lora_alpha": 1' + "0" * 400 + "}"):
        config.write_text(text)
        assert main(["convert", str(tmp_path / "peft"), "--to", "kohya", "-o", str(tmp_path / "x.safetensors")]) == 2
        assert f"{config}: these are no settings of peft's" in capsys.readouterr().err


def test_a_full_disk_is_said_as_a_tool_says_it(
    networks_of: Find, draw: Draw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = draw(networks_of("sd1", "model.safetensors"), conv=False)
    monkeypatch.setattr("tehon.disk.shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    assert main(["convert", str(file), "--to", "diffusers"]) == 2
    assert "choose another place with --out" in capsys.readouterr().err
