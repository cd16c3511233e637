"""The tensors of every family, from every kind of file: the same, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tehon.catalog.detect import find_model
from tehon.messages.problem import Problem
from tehon.weights.model import part_tensors

Models = Callable[[str, str], Path]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("kind", ["model.safetensors", "model.ckpt"])
def test_a_checkpoint_holds_what_the_folder_does(
    family: str, kind: str, models: Models, twins: Any, vocabulary: str
) -> None:
    nets = twins.networks(family)
    model = find_model(str(models(family, kind)), tokenizer=vocabulary, prediction="epsilon")
    for part, network in nets.items():
        found, own = part_tensors(model, part), network.state_dict()
        if part.startswith("text"):
            own = {name if name.startswith("text_") else f"text_model.{name}": row for name, row in own.items()}
            own |= (
                {"text_projection.weight": found["text_projection.weight"]} if "text_projection.weight" in found else {}
            )
        assert found.keys() == own.keys()
        assert all(torch.equal(found[name], own[name]) for name in own)


def test_a_vae_of_its_own_takes_the_place_of_the_models(
    models: Models, twins: Any, tmp_path: Path, vocabulary: str
) -> None:
    """With and without the prefix that it has in a whole model, and with the loss that it was trained with."""
    other = twins.original(twins.networks("sdxl"), "sdxl")
    start = "first_stage_model."
    rows = {name.removeprefix(start): tensor for name, tensor in other.items() if name.startswith(start)}
    own = twins.networks("sdxl")["vae"].state_dict()
    for name, tensors in (("bare", rows | {"loss.logvar": torch.ones(1)}), ("whole", other)):
        file = tmp_path / f"{name}.safetensors"
        save_file(tensors, file)
        model = find_model(str(models("sd1", "model.safetensors")), vae=str(file), tokenizer=vocabulary)
        found = part_tensors(model, "vae")
        assert found.keys() == own.keys()
        assert all(torch.equal(found[key], own[key]) for key in own)
        assert model.configs["vae"]["scaling_factor"] == 0.18215, "the scale is the family's"


def test_text_encoders_of_early_files_lack_the_outer_name(models: Models, tmp_path: Path, vocabulary: str) -> None:
    rows = load_file(models("sd1", "model.safetensors"))
    start = "cond_stage_model.transformer."
    early = {name.replace(f"{start}text_model.", start): tensor for name, tensor in rows.items()}
    early[f"{start}embeddings.position_ids"] = torch.arange(77)[None]
    save_file(early, tmp_path / "early.safetensors")
    model = find_model(str(tmp_path / "early.safetensors"), tokenizer=vocabulary)
    found = part_tensors(model, "text_encoder")
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(found[name], rows[f"cond_stage_model.transformer.{name}"])


def test_a_file_that_changed_after_the_plan_is_one_sentence(models: Models, tmp_path: Path, vocabulary: str) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(models("sd1", "model.safetensors").read_bytes())
    model = find_model(str(file), tokenizer=vocabulary)
    file.write_bytes(b"gone")
    with pytest.raises(Problem, match=r"model\.path: the model in .*m\.safetensors cannot be loaded"):
        part_tensors(model, "unet")
