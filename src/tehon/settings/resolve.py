"""Settings with nothing left open: what the run directory stores and what repeats the run."""

import os
import secrets
from pathlib import Path

from tehon.catalog.detect import DEMO
from tehon.settings.settings import Settings


def resolve(settings: Settings, native_side: int) -> Settings:
    """Fills every empty setting: with the model's value, with the field it falls back to, or, for the seed, by lot.

    Paths become absolute, so that the run can be repeated from anywhere.
    """
    data, rates, training = settings.data, settings.optimizer, settings.training
    network = settings.network
    side = data.resolution or native_side
    model = settings.model.path
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"path": model if model == DEMO else _absolute(model)}),
            "data": data.model_copy(
                update={
                    "folder": _absolute(data.folder),
                    "resolution": side if isinstance(side, list) else [side, side],
                    "vae_batch_size": data.vae_batch_size or data.batch_size,
                }
            ),
            "network": network.model_copy(
                update={"weights": _absolute(network.weights) if network.weights else network.weights}
            ),
            "optimizer": rates.model_copy(
                update={
                    "unet_lr": rates.learning_rate if rates.unet_lr is None else rates.unet_lr,
                }
            ),
            "training": training.model_copy(
                update={
                    "max_train_epochs": training.max_train_epochs or training.epochs,
                    "seed": secrets.randbelow(2**32) if training.seed is None else training.seed,
                }
            ),
            "output": settings.output.model_copy(update={"folder": _absolute(settings.output.folder)}),
        }
    )


def _absolute(path: str) -> str:
    return str(Path(os.path.expanduser(path)).absolute())
