"""Settings with nothing left open: what the run directory stores and what repeats the run."""

import os
import secrets
from typing import Any

from tehon.catalog.detect import DEMO
from tehon.catalog.hub import is_hub_id
from tehon.catalog.model import Model, expanded
from tehon.processes import place_here
from tehon.settings.dataset import DataSettings
from tehon.settings.dataset_config import read_dataset_config
from tehon.settings.network_rules import fallbacks
from tehon.settings.optimizer_rules import resolved_name, resolved_schedule
from tehon.settings.output import OutputSettings
from tehon.settings.settings import Settings

KEPT_STATES = 2  # the newest, and one in case its disk block goes bad
_PATHS = ("folder", "reg_folder", "validation_folder", "mask_folder", "metadata_file")


def resolve(settings: Settings, found: Model) -> Settings:
    """Fills every empty setting: with the model's value, with the field it falls back to, or, for the seed, by lot.

    Paths become absolute, so that the run can be repeated from anywhere.
    """
    feed, network, rates, training = settings.feed, settings.network, settings.optimizer, settings.training
    model, samples, logs = settings.model.path, settings.samples, settings.logs
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(
                update={
                    "path": model if model == DEMO or _on_the_hub(model) else _absolute(model),
                    "vae": settings.model.vae and _absolute(settings.model.vae),
                    "tokenizer": settings.model.tokenizer and _absolute(settings.model.tokenizer),
                    "prediction": settings.model.prediction or found.prediction,
                }
            ),
            "data": _data(settings.data, found.native_side),
            "feed": feed.model_copy(
                update={
                    "vae_batch_size": feed.vae_batch_size or settings.data.batch_size,
                    "cache_folder": feed.cache_folder and _absolute(feed.cache_folder),
                }
            ),
            "network": network.model_copy(
                update={
                    **{name: value for name, value in fallbacks(network).items() if getattr(network, name) is None},
                    "weights": _absolute(network.weights) if network.weights else network.weights,
                    "base_weights": _each_absolute(network.base_weights),
                }
            ),
            "optimizer": rates.model_copy(
                update={
                    "name": resolved_name(rates.name),
                    "lr_scheduler": resolved_schedule(rates),
                    "unet_lr": rates.learning_rate if rates.unet_lr is None else rates.unet_lr,
                    "text_encoder_2_lr": (
                        rates.text_encoder_lr if rates.text_encoder_2_lr is None else rates.text_encoder_2_lr
                    ),
                }
            ),
            "training": training.model_copy(
                update={
                    "max_train_epochs": training.max_train_epochs or training.epochs,
                    "additional_parameters": "",  # they are in the settings by now
                    "resume": training.resume and _absolute(training.resume),
                    "num_processes": training.num_processes or place_here().count,
                    "seed": secrets.randbelow(2**32) if training.seed is None else training.seed,
                }
            ),
            "samples": samples.model_copy(
                update={"prompts_file": samples.prompts_file and _absolute(samples.prompts_file)}
            ),
            "logs": logs.model_copy(update={"folder": logs.folder and _absolute(logs.folder)}),
            "output": _output(settings.output),
        }
    )


def _output(output: OutputSettings) -> OutputSettings:
    states = output.save_last_n_states
    if states is None:
        states = 0 if output.save_last_n_steps_state else KEPT_STATES
    return output.model_copy(update={"folder": _absolute(output.folder), "save_last_n_states": states})


def _data(data: DataSettings, native_side: int) -> DataSettings:
    """A data set configuration becomes sets, so that the run can be repeated without that file."""
    config = expanded(data.dataset_config)
    tables = read_dataset_config(config, data.repeats or 1) if data.dataset_config else data.sets
    filled = _table(data.model_dump(), native_side)
    return data.model_copy(
        update=filled | {"sets": [_table(one, native_side) for one in tables], "dataset_config": ""},
    )


def _table(values: dict[str, Any], native_side: int) -> dict[str, Any]:
    """Those of a table's values that are not final yet: its paths and its resolution."""
    found = dict(values)
    if "resolution" in values:
        side = values["resolution"] or native_side
        found["resolution"] = side if isinstance(side, list) else [side, side]
    for name in _PATHS:
        if values.get(name):
            found[name] = _absolute(values[name])
    return found


def _each_absolute(paths: str | list[str]) -> str | list[str]:
    if isinstance(paths, list):
        return [_absolute(path) for path in paths]
    return paths and _absolute(paths)


def _absolute(path: str) -> str:
    return str(expanded(path).absolute())


def filled_names(given: Settings, resolved: Settings) -> list[str]:
    """The settings that were left empty and have a value now."""
    return [
        f"{section}.{name}"
        for section, values in given.model_dump().items()
        for name, value in values.items()
        if value is None and getattr(getattr(resolved, section), name) is not None
    ]


def open_names(given: Settings, resolved: Settings) -> list[str]:
    """The settings that stay open in a copy for another process: it fills them as this one did. The seed that was drawn
    is kept."""
    return [name for name in filled_names(given, resolved) if name != "training.seed"]


def _on_the_hub(path: str) -> bool:
    """Whether a model's path is a name on the hub: what is a file or folder here is not."""
    return is_hub_id(path) and not os.path.exists(path)
