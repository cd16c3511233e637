"""What a model path is: its family, read from the configuration files of a diffusers folder."""

import json
import os
from pathlib import Path

from tehon.catalog.families import FAMILIES, Family
from tehon.messages.problem import Problem

DEMO = "demo"


def demo_folder() -> Path:
    """The small Stable Diffusion that comes with the package."""
    return Path(__file__).parents[1] / "demo" / "model"


def model_folder(path: str) -> Path:
    """The folder that a model setting names; a Problem when it holds no model."""
    folder = demo_folder() if path == DEMO else Path(os.path.expanduser(path))
    if not os.path.exists(folder):
        raise Problem("model_missing", field="model.path", path=path)
    if not (folder / "model_index.json").is_file():
        raise Problem("model_not_a_folder", field="model.path", path=path)
    return folder


def native_side(folder: Path, family: Family) -> int:
    """The side in pixels that the model was made for, by its U-Net's configuration."""
    unet = json.loads((folder / "unet" / "config.json").read_text("utf8"))
    latent = unet.get("sample_size")
    return latent * family.stride if isinstance(latent, int) else family.native_side


def detect_family(folder: Path) -> Family:
    """The family of the model in a diffusers folder; a Problem when it is none that we know."""
    try:
        index = json.loads((folder / "model_index.json").read_text("utf8"))
        unet = json.loads((folder / "unet" / "config.json").read_text("utf8"))
        text = json.loads((folder / "text_encoder" / "config.json").read_text("utf8"))
        schedule = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf8"))
    except (OSError, ValueError):
        raise Problem("model_incomplete", field="model.path", path=folder) from None
    plain = "text_encoder_2" not in index and not unet.get("use_linear_projection")
    if plain and text.get("num_hidden_layers") == 12 and unet.get("in_channels") == 4:
        if schedule.get("prediction_type", "epsilon") != "epsilon":
            raise Problem("model_not_epsilon", field="model.path", path=folder)
        return FAMILIES["sd1"]
    raise Problem("model_unknown", field="model.path", path=folder)
