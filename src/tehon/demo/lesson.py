"""What the demo learns: its settings, and the pictures of mofu beside those of what the model knows.

>>> tree = prepared(Path("tehon-demo"))
>>> tree["data"]["folder"]
'tehon-demo/pictures'
"""

from pathlib import Path
from typing import Any

from tehon.demo.mofu import write_data_set
from tehon.demo.scenes import write_known_scenes

FOLDERS = ("10_mofu", "1_scene")
"""Those of the pictures, by what is in them."""

SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"path": "demo"},
    "data": {"resolution": 128, "batch_size": 4},
    "feed": {"vae_batch_size": 8},
    "network": {"rank": 16, "alpha": 16.0},
    "optimizer": {
        "name": "AdamW",
        "learning_rate": 4e-3,
        "text_encoder_lr": 2e-3,
        "lr_scheduler": "cosine",
        "lr_warmup": 5.0,
    },
    "training": {"epochs": 5, "max_train_steps": 270, "seed": 7},
    "output": {"name": "mofu", "save_every_n_epochs": 0},
}


def prepared(folder: Path) -> dict[str, Any]:
    """Draws the pictures into `folder`, where they are not there from an earlier time, and gives the settings as
    tables."""
    pictures = folder / "pictures"
    write_data_set(pictures)
    write_known_scenes(pictures)
    tree = {section: dict(values) for section, values in SETTINGS.items()}
    tree["data"]["folder"] = str(pictures)
    tree["output"]["folder"] = str(folder)
    return tree
