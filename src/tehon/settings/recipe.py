"""What a LoRA file says of its training beside kohya's keys, which lack many settings: each as it was written, so that
the file gives back what was set. None says where a file lies.

>>> recipe(settings)["text.weighted_captions"]
True
"""

from typing import Any

from tehon.settings.fields import fields
from tehon.settings.settings import Settings

RECIPE = "tehon_settings"
"""The key in the metadata; its value is {dotted name: value} as JSON."""

_SECTIONS = ("data", "text", "objective", "optimizer", "precision")
_OF_OTHERS = frozenset(
    (
        *("network.include", "network.exclude", "network.init"),
        *("training.epochs", "training.max_train_epochs", "training.max_train_steps", "training.seed"),
        *("training.gradient_accumulation_steps", "training.ema_decay"),
    )
)
_PLACES = frozenset(
    f"data.{name}"
    for name in ("folder", "reg_folder", "validation_folder", "mask_folder", "metadata_file", "sets", "dataset_config")
)


def in_recipe(name: str) -> bool:
    """Whether a recipe can tell of the setting with this dotted name. Kohya's keys tell of the network, since tools
    that change a file write there what it then holds."""
    return (name.partition(".")[0] in _SECTIONS or name in _OF_OTHERS) and name not in _PLACES


def recipe(settings: Settings) -> dict[str, Any]:
    """{dotted name: value}. Where sets of pictures differ, none of the settings of the section `data` is told."""
    several = bool(settings.data.sets or settings.data.dataset_config)
    names = [field.name for field in fields() if in_recipe(field.name)]
    told = [name.partition(".") for name in names if not (several and name.startswith("data."))]
    return {f"{section}.{field}": getattr(getattr(settings, section), field) for section, _, field in told}
