"""The names of layers, on the full lists of the real networks, against diffusers' own conversion."""

import re
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)

from tehon.catalog.checkpoint import network_configs
from tehon.catalog.families import FAMILIES
from tehon.catalog.names import open_clip_names, original_unet_path, unet_name, vae_name


def real_unet(twins: Any, family: str) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**twins.REAL[family])


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_tensor_of_a_real_unet_has_the_name_that_diffusers_gives_it(family: str, twins: Any) -> None:
    unet = real_unet(twins, family)
    attending = {i for i, kind in enumerate(unet.config["up_block_types"]) if "CrossAttn" in kind}
    named = {twins.original_unet(name, attending): name for name in unet.state_dict()}
    assert len(named) == len(unet.state_dict()) > 600
    assert {name: unet_name(name) for name in named} == named
    # diffusers looks at names alone, so each tensor can stand for its own name.
    marked = {f"model.diffusion_model.{name}": torch.tensor(i) for i, name in enumerate(named)}
    theirs = convert_ldm_unet_checkpoint(dict(marked), unet.config)
    assert {name: int(i) for name, i in theirs.items()} == {unet_name(name): i for i, name in enumerate(named)}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_layers_find_back_to_their_original_paths(family: str, twins: Any) -> None:
    unet = real_unet(twins, family)
    attending = {i for i, kind in enumerate(unet.config["up_block_types"]) if "CrossAttn" in kind}
    for path, module in unet.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            assert unet_name(f"{original_unet_path(path, attending)}.weight") == f"{path}.weight"
    assert FAMILIES["sdxl"].attending_up == frozenset(
        i for i, kind in enumerate(twins.REAL["sdxl"]["up_block_types"]) if "CrossAttn" in kind
    )


@pytest.mark.parametrize("name", ["joint_blocks.0.x", "down_blocks.0.resnets.0.conv1"])
def test_what_is_no_original_name_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        unet_name(name)


def test_every_tensor_of_a_real_vae_has_the_name_that_diffusers_gives_it(twins: Any) -> None:
    with torch.device("meta"):
        vae = AutoencoderKL(**twins.REAL_VAE)
    named = {twins.original_vae(name): name for name in vae.state_dict()}
    assert {name: vae_name(name) for name in named} == named
    marked = {f"first_stage_model.{name}": torch.tensor(i) for i, name in enumerate(named)}
    theirs = {name: int(i) for name, i in convert_ldm_vae_checkpoint(dict(marked), vae.config).items()}
    ours = {vae_name(name): i for i, name in enumerate(named)}
    # diffusers leaves the attention's layers under their first names and renames them when it loads them.
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    today = {re.sub(r"\b(query|key|value|proj_attn)\b", lambda m: old[m[0]], name): i for name, i in theirs.items()}
    assert today == ours


def test_the_layers_of_open_clip_are_split_as_diffusers_splits_them(twins: Any) -> None:
    encoder = twins.networks("sdxl")["text_encoder_2"]
    rows = twins.open_clip(encoder, 0)
    theirs = convert_open_clip_checkpoint(encoder.text_model, dict(rows), prefix="")
    names = {name for key in rows for name in open_clip_names(key)}
    assert names == encoder.state_dict().keys()
    spelled = {name if name.startswith("text_") else f"text_model.{name}" for name in theirs}
    assert spelled - {"text_model.embeddings.position_ids"} <= names


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_configurations_follow_from_the_shapes(family: str, twins: Any) -> None:
    """Of the twins in full, and of the real U-Nets."""
    nets = twins.networks(family)
    found = network_configs({k: tuple(t.shape) for k, t in twins.original(nets, family).items()}, FAMILIES[family])
    assert found.keys() == nets.keys()
    for part, config in found.items():
        for key, value in config.items():
            own = getattr(nets[part].config, key)
            one = key == "transformer_layers_per_block" and isinstance(own, int)
            assert list(value) == [own] * len(value) if one else value == _plain(own), (part, key)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
