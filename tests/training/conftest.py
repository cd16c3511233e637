"""Trainings of the tests are on a model as small as one can be: a step takes a fraction of one on the demo model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "src" / "tehon" / "demo" / "model"
NANO: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": [8, 16],
        "attention_head_dim": [2, 2],
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "vae": {"block_out_channels": [4, 4, 8, 8], "norm_num_groups": 2},
    "text_encoder": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "projection_dim": 16,
    },
}


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Stable Diffusion as small as one can be: the demo model's parts with the fewest blocks and
    channels, the same random weights each time. A training step takes a fraction of one on the demo model, so what
    doesn't ask for pictures is tested with it."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("nano")
    configs = {part: json.loads((DEMO / part / "config.json").read_text("utf8")) | NANO[part] for part in NANO}
    state = torch.random.get_rng_state()
    torch.manual_seed(11)
    unet: Any = UNet2DConditionModel.from_config(configs["unet"])
    vae: Any = AutoencoderKL.from_config(configs["vae"])
    text: Any = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    torch.random.set_rng_state(state)
    for part, network in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        network.save_pretrained(folder / part)
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(DEMO / part, folder / part)
    shutil.copy(DEMO / "model_index.json", folder)
    return folder


@pytest.fixture
def tree(tree: dict[str, Any], nano: Path) -> dict[str, Any]:
    """The settings of the same name with this model."""
    return tree | {"model": {"path": str(nano)}}
