"""The layers that are listed from a configuration are those of the real networks, and of sd-scripts' files."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from tehon.catalog.detect import demo_folder
from tehon.catalog.families import FAMILIES, SD_BLOCKS
from tehon.catalog.kinds import tensor_shapes
from tehon.catalog.layers import LayerRow, text_layers, unet_layers

SD15 = {
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
SD21 = SD15 | {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
SDXL = {
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "transformer_layers_per_block": [1, 2, 10],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}
CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
OUTSIDE = ("conv_in", "conv_out", "time_embedding")


def real_layers(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        path: tuple(module.weight.shape)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


@pytest.mark.parametrize("config", [SD15, SD21, SDXL, "demo"], ids=["SD 1.5", "SD 2.1", "SDXL", "demo"])
def test_the_layers_of_a_unet_are_those_of_diffusers(config: Any) -> None:
    if config == "demo":
        config = json.loads((demo_folder() / "unet" / "config.json").read_text("utf8"))
    with torch.device("meta"):
        model: Any = UNet2DConditionModel(**{k: v for k, v in config.items() if not k.startswith("_")})
    real = real_layers(model)
    rows = list(unet_layers(config))
    assert {row.path: row.shape for row in rows} == {p: s for p, s in real.items() if not p.startswith(OUTSIDE)}
    inside = {path for path, module in model.named_modules() if type(module).__name__ == "Transformer2DModel"}
    for row in rows:
        attends = any(row.path.startswith(f"{path}.") for path in inside)
        assert row.place == ("attention" if attends else "residual")


def test_the_layers_of_a_text_encoder_are_those_of_transformers() -> None:
    with torch.device("meta"):
        model: Any = CLIPTextModel(CLIPTextConfig(**CLIP))
    real = {f"text_model.{path.removeprefix('text_model.')}": shape for path, shape in real_layers(model).items()}
    assert {row.path: row.shape for row in text_layers(CLIP)} == real


def planned(rows: list[LayerRow], prefix: str, conv_rank: int) -> dict[str, list[int]]:
    return {
        f"{prefix}_{row.path.replace('.', '_')}.{name}": list(shape)
        for row in rows
        if row.place == "attention" or conv_rank
        for name, shape in tensor_shapes("lora", row.shape, conv_rank if row.shape[2:] == (3, 3) else 8).items()
    }


TEXTS = {
    "sd1": {"lora_te": CLIP},
    "sd2": {"lora_te": CLIP | {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}},
    "sdxl": {
        "lora_te1": CLIP,
        "lora_te2": CLIP | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32},
    },
}


@pytest.mark.parametrize(
    ("name", "family", "unet", "conv_rank"),
    [
        ("sd15", "sd1", SD15, 0),
        ("sd15_conv4", "sd1", SD15, 4),
        ("sd21", "sd2", SD21, 0),
        ("sd21_conv4", "sd2", SD21, 4),
        ("sdxl", "sdxl", SDXL, 0),
        ("sdxl_conv4", "sdxl", SDXL, 4),
    ],
)
def test_names_shapes_and_blocks_are_those_of_sd_scripts(
    name: str, family: str, unet: dict[str, Any], conv_rank: int, golden: Callable[[str], Any]
) -> None:
    """sd-scripts' list for 2.1 was made from one file, where it takes the projections for 1x1 convolutions; in truth
    they are Linear, as in a folder."""
    facts = FAMILIES[family]
    rows = [replace(row, path=facts.file_path("lora_unet", row.path)) for row in unet_layers(unet)]
    tensors = planned(rows, "lora_unet", conv_rank)
    for prefix, config in TEXTS[family].items():
        tensors |= planned(list(text_layers(config)), prefix, 0)
    expected = golden(f"lora_keys_{name}")
    if family == "sd2":
        projections = (
            "proj_in.lora_down.weight",
            "proj_in.lora_up.weight",
            "proj_out.lora_down.weight",
            "proj_out.lora_up.weight",
        )
        linear = {key: shape[:2] if key.endswith(projections) else shape for key, shape in expected["tensors"].items()}
        assert tensors == linear
    else:
        assert tensors == expected["tensors"]
    blocks = {
        facts.layer_name("lora_unet", row.path): facts.blocks.index(row.path)
        for row in unet_layers(unet)
        if row.place == "attention" or conv_rank
    }
    assert blocks == expected["blocks"]
    assert facts.blocks.count == (23 if family == "sdxl" else 25)
    names = [facts.blocks.name(n) for n in range(facts.blocks.count)]
    assert names[-10:][0] == ("OUT00" if family == "sdxl" else "OUT02")


def test_blocks_have_the_names_of_a1111() -> None:
    names = [SD_BLOCKS.name(index) for index in range(SD_BLOCKS.count)]
    assert names == [*(f"IN{i:02d}" for i in range(12)), "MID", *(f"OUT{i:02d}" for i in range(12))]
    with pytest.raises(ValueError, match="conv_in"):
        SD_BLOCKS.index("conv_in")


def test_every_family_lists_layers_for_each_of_its_roots() -> None:
    for family in FAMILIES.values():
        assert family.adapter_layers.keys() == family.adapter_roots.keys()
