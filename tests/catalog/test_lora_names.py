from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tehon.catalog.detect import find_networks
from tehon.catalog.families import FAMILIES
from tehon.catalog.lora_names import TEXT_WIDTHS, block_index, block_names, family_of_lora, layer_place
from tehon.planning.modules import module_on, target_layers


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_layer_of_every_family_is_found_again(family: str, models: Callable[[str, str], Path]) -> None:
    model = find_networks(str(models(family, "model.safetensors")))
    count = 0
    for root, rows in target_layers(model).items():
        for row in rows:
            module = module_on(model.family, root, row)
            place = layer_place(module.name)
            assert place is not None
            assert (place.root, place.path) == (root, row.path)
            assert place.original == (family == "sdxl" and root == "lora_unet")
            assert model.family.layer_name(place.root, place.path) == module.name
            assert block_index(module.name, model.family) == module.block
            count += 1
    assert count > 250


@pytest.mark.parametrize(
    "name", ["lora_unet_x.y", "lora_unet_Down_blocks", "unet_mid_block", "lora_unet_input_blocks_9"]
)
def test_other_names_are_none(name: str) -> None:
    assert layer_place(name) is None


@pytest.mark.parametrize(("family", "wide"), TEXT_WIDTHS.items())
def test_the_family_follows_from_names_and_widths(family: str, wide: int, twins: Any) -> None:
    assert twins.REAL[family]["cross_attention_dim"] == wide, "what real models have"
    start = "input_blocks_4_1" if family == "sdxl" else "down_blocks_0_attentions_0"
    layer = f"lora_unet_{start}_transformer_blocks_0_attn2_to_k"
    found = family_of_lora({layer: {"lora_down.weight": (4, wide)}}, {})
    assert found is FAMILIES[family]
    if family != "sdxl":
        layer = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
        assert family_of_lora({layer: {"lora_down.weight": (4, wide)}}, {}) is FAMILIES[family]


def test_what_the_file_says_of_its_family_counts_more_than_its_width() -> None:
    layers = {"lora_te_text_model_encoder_layers_0_mlp_fc1": {"lora_down.weight": (4, 96)}}
    assert family_of_lora(layers, {"ss_base_model_version": "sd_v2_v"}) is FAMILIES["sd2"]
    assert family_of_lora(layers, {"ss_base_model_version": "sd_v1"}) is FAMILIES["sd1"]
    assert family_of_lora({"lora_te2_text_model_encoder_layers_0_mlp_fc1": {}}, {}) is FAMILIES["sdxl"]
    assert family_of_lora({"x": {}}, {}) is None


def test_layers_are_told_by_block() -> None:
    names = ["lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_unet_mid_block_attentions_0_proj_in"]
    names += ["lora_unet_up_blocks_1_attentions_0_proj_in", "lora_unet_conv_in"]
    assert list(block_names(names, FAMILIES["sd1"]).values()) == ["lora_te", "MID", "OUT03", "other"]
