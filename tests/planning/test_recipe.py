"""A LoRA file gives back the settings that it was trained with, and says of no file where it lies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tehon.catalog.kinds import KINDS, LOCON_IN_LYCORIS
from tehon.planning.plan import make_plan
from tehon.planning.recipe import recipe_metadata
from tehon.settings.files import validate
from tehon.settings.kohya.carry import Import
from tehon.settings.kohya.meaning import meaning
from tehon.settings.kohya.read import bring
from tehon.settings.recipe import RECIPE
from tehon.training.facts import run_facts
from tehon.weights.metadata import kohya_metadata

Tree = dict[str, Any]
UNUSUAL: Tree = {
    "data": {
        "bucket_reso_steps": 64,
        "caption_prefix": "mofu, ",
        "enable_wildcard": True,
        "secondary_separator": ";;;",
        "shuffle_caption": True,
        "keep_tokens_separator": "|||",
    },
    "text": {"weighted_captions": True, "no_token_padding": True, "clip_skip": 2},
    "network": {"exclude": "ff", "init": "gaussian", "down_lr_weight": "sine+0.5", "conv_rank": 3},
    "objective": {"stratified_timesteps": True, "timestep_sampling": "logit_normal", "logit_mean": 0.5},
    "optimizer": {
        "lr_scheduler": "cosine_with_restarts",
        "lr_scheduler_num_cycles": 3,
        "lr_warmup": 12.5,
        "text_encoder_lr": 2e-5,
        "arguments": "weight_decay=0.2",
    },
    "training": {"ema_decay": 0.9, "epochs": 3, "max_train_steps": 9, "gradient_accumulation_steps": 2},
}


def metadata_of(tree: Tree) -> dict[str, str]:
    plan = make_plan(validate(tree))
    return recipe_metadata(plan) | kohya_metadata(run_facts(plan, 1, 0.0))


def brought(folder: Path, metadata: dict[str, str]) -> Import:
    file = folder / "mofu.safetensors"
    save_file({"a.alpha": np.zeros((), np.float32)}, file, metadata)
    return bring(file)


def test_a_lora_gives_back_what_was_set(tree: Tree, tmp_path: Path) -> None:
    tree = {section: {**tree.get(section, {}), **UNUSUAL.get(section, {})} for section in tree.keys() | UNUSUAL}
    found = brought(tmp_path, metadata_of(tree))
    here, there = meaning(tree), meaning(found.tree)
    elsewhere = ("model.", "output.", "data.folder", "training.device", "training.num_processes")
    assert {name: there[name] for name in here if not name.startswith(elsewhere)} == {
        name: value for name, value in here.items() if not name.startswith(elsewhere)
    }
    assert found.missing == ["data.folder", "output.folder"]
    assert not found.problems
    tree["training"].pop("seed")
    metadata = metadata_of(tree)
    drawn = brought(tmp_path, metadata).tree["training"]["seed"]
    assert drawn == int(metadata["ss_seed"])


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "ia3"},
        *({"kind": kind, "rank": 4} for kind in KINDS if kind != "ia3"),
        *({"kind": kind, "rank": 4, "conv_rank": 3} for kind in KINDS if kind != "ia3"),
        *({"kind": "lora", name: True} for name in sorted(LOCON_IN_LYCORIS - {"tucker"})),
        *({"kind": "locon", name: True} for name in sorted(LOCON_IN_LYCORIS)),
        {"kind": "lora", "dora": True, "include": "attn1"},
        {"kind": "loha", "exclude": "ff", "conv_rank": 3, "tucker": True},
    ],
    ids=str,
)
def test_a_lora_gives_back_the_layers_that_it_trained(tree: Tree, tmp_path: Path, network: dict[str, Any]) -> None:
    tree["network"] = network
    plan = make_plan(validate(tree))
    found = brought(tmp_path, metadata_of(tree)).tree
    places = {section: tree[section] for section in ("model", "output")}
    again = make_plan(validate({**found, **places, "data": found["data"] | {"folder": tree["data"]["folder"]}}))
    assert again.modules == plan.modules


def test_no_place_is_told(tree: Tree, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    for picture in Path(tree["data"]["folder"]).glob("*/*.png"):
        (masks / picture.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(picture).save(masks / picture.parent.name / picture.name)
    tree["data"] |= {"mask_folder": str(masks), "reg_folder": tree["data"]["folder"]}
    tree["objective"] = {"masked_loss": True}
    metadata = metadata_of(tree)
    assert str(tmp_path) not in metadata[RECIPE]
    line = next(line for line in brought(tmp_path, metadata).lines if line.key == "objective.masked_loss")
    assert line.fate == "dropped"
    assert "there are no masks; give data.mask_folder" in line.reason


def test_where_sets_differ_kohyas_keys_tell_of_them(tree: Tree, tmp_path: Path) -> None:
    tree["data"]["sets"] = [{"folder": tree["data"].pop("folder"), "flip_aug": True}]
    metadata = metadata_of(tree)
    assert not [name for name in json.loads(metadata[RECIPE]) if name.startswith("data.")]
    assert brought(tmp_path, metadata).tree["data"]["flip_aug"] is True


def test_what_a_tool_made_of_the_network_goes_before_what_was_trained(tree: Tree, tmp_path: Path) -> None:
    assert brought(tmp_path, metadata_of(tree) | {"ss_network_dim": "1"}).tree["network"]["rank"] == 1


@pytest.mark.parametrize("text", ["[", "[1]", '"\\ud800"', "[" * 100_000])
def test_a_recipe_that_is_none_is_left_out_and_said(tree: Tree, tmp_path: Path, text: str) -> None:
    found = brought(tmp_path, metadata_of(tree) | {RECIPE: text})
    line = next(line for line in found.lines if line.key == RECIPE)
    assert (line.fate, bool(line.reason)) == ("dropped", True)
    assert found.tree["data"]["batch_size"] == 2, "kohya's keys still tell it"


def test_settings_of_other_versions_and_wrong_values_are_named(tree: Tree, tmp_path: Path) -> None:
    told = json.dumps(
        {"data.new": 1, "network.rank": 3, "model.path": "x", "text.clip_skip": "far", "text.weighted_captions": True}
    )
    found = brought(tmp_path, metadata_of(tree) | {RECIPE: told})
    lines = {line.key: line.outcome for line in found.lines}
    assert found.tree["network"]["rank"] == 2, "kohya's keys still tell what this version's recipe does not"
    assert found.tree["text"] == {"weighted_captions": True, "max_token_length": 75}
    assert [str(lines[key].reasons[0]) for key in ("data.new", "model.path")] == ["this tehon has no such setting"] * 2
    assert "text.clip_skip: 'far' does not fit" in str(lines["text.clip_skip"].reasons[0])


def test_a_number_that_is_too_large_is_refused_in_a_short_sentence(tree: Tree, tmp_path: Path) -> None:
    found = brought(tmp_path, metadata_of(tree) | {RECIPE: json.dumps({"optimizer.learning_rate": 10**400})})
    line = next(line for line in found.lines if line.key == "optimizer.learning_rate")
    assert (line.fate, line.outcome.blocks) == ("dropped", True)
    assert f"optimizer.learning_rate: 1{'0' * 56}... does not fit" in line.reason
