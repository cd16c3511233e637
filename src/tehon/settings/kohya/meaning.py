"""Settings in a form in which two are equal when a training with them is the same.

>>> meaning({"optimizer": {"learning_rate": 1e-4}})["optimizer.unet_lr"]
0.0001
"""

from collections.abc import Mapping
from typing import Any

from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.settings.kohya.effect import filled
from tehon.settings.optimizer_rules import read_arguments, resolved_name
from tehon.settings.schedule_rules import HEEDED
from tehon.settings.settings import Settings

_LISTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_BLOCKS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
_PLUS = ("loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")


def values_of(settings: Settings) -> dict[str, Any]:
    """{dotted name: value}."""
    return {field.name: getattr(getattr(settings, field.name.partition(".")[0]), field.name.partition(".")[2])
            for field in fields()}  # fmt: skip


def meaning(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a tree of settings that `tehon import` gave, what is open filled with what it then means."""
    own = values_of(Settings.model_validate(filled(dict(tree))))
    _network(own)
    _learning(own)
    sides = own["data.resolution"]
    own["data.resolution"] = [sides, sides] if isinstance(sides, int) else sides
    own["data.caption_extension"] = own["data.caption_extension"] and f".{own['data.caption_extension'].lstrip('.')}"
    own["feed.vae_batch_size"] = own["feed.vae_batch_size"] or own["data.batch_size"]
    if not any(own[f"samples.{when}"] for when in ("every_n_steps", "every_n_epochs", "at_first")):
        own["samples.prompts"] = own["samples.prompts_file"] = ""
    if own["logs.log_with"] == "auto" and own["logs.folder"]:
        own["logs.log_with"] = "tensorboard"
    return own


def _network(own: dict[str, Any]) -> None:
    if own["network.kind"] == "lora" and own["network.conv_rank"]:
        own["network.kind"] = "locon"
    if own["network.conv_rank"] is None:
        own["network.conv_rank"] = own["network.rank"] if own["network.kind"] == "locon" else 0
    own["network.conv_alpha"] = own["network.conv_alpha"] or own["network.alpha"]
    for name in _PLUS:
        own[f"network.{name}"] = own[f"network.{name}"] or own["network.loraplus_lr_ratio"]
    for name in (*_LISTS, *_BLOCKS):
        own[f"network.{name}"] = _listed(own[f"network.{name}"])
    files, factors = own["network.base_weights"], own["network.base_weights_multiplier"]
    count = len(files) if isinstance(files, list) else 1
    own["network.base_weights"] = files if isinstance(files, list) else [files] if files else []
    own["network.base_weights_multiplier"] = factors if isinstance(factors, list) else [factors] * count


def _listed(value: Any) -> str:
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        try:
            return ",".join(f"{float(word):g}" for word in words)
        except ValueError:
            return ",".join(words)
    return ",".join(f"{number:g}" for number in (value if isinstance(value, list) else [value]))


def _learning(own: dict[str, Any]) -> None:
    rate = own["optimizer.learning_rate"]
    own["optimizer.unet_lr"] = rate if own["optimizer.unet_lr"] is None else own["optimizer.unet_lr"]
    second = own["optimizer.text_encoder_2_lr"]
    own["optimizer.text_encoder_2_lr"] = own["optimizer.text_encoder_lr"] if second is None else second
    own["optimizer.name"] = resolved_name(own["optimizer.name"])
    try:
        own["optimizer.arguments"] = repr(sorted(read_arguments(own["optimizer.arguments"]).items()))
    except Problem:
        own["optimizer.arguments"] = " ".join(own["optimizer.arguments"].split())
    heeded = HEEDED[own["optimizer.lr_scheduler"]]
    for name in set[str]().union(*HEEDED.values()) - heeded:
        own[f"optimizer.{name}"] = None
    if own["optimizer.lr_warmup_steps"]:
        own["optimizer.lr_warmup"] = None
    pieces = own["optimizer.lr_scheduler_pieces"]
    own["optimizer.lr_scheduler_pieces"] = pieces and "".join(pieces.split())
    epochs, most = own["training.epochs"], own["training.max_train_epochs"]
    own["training.epochs"] = min(epochs, most or epochs)
    own["training.max_train_epochs"] = None
