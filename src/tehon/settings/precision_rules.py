"""The rules between number types, and of what needs a package that may not be there."""

from collections.abc import Iterator
from importlib.util import find_spec

from tehon.catalog.optimizers import optimizer_name, optimizer_row
from tehon.messages.problem import Problem
from tehon.settings.memory import MemorySettings
from tehon.settings.optimizer import OptimizerSettings
from tehon.settings.optimizer_rules import resolved_name
from tehon.settings.precision import PrecisionSettings
from tehon.settings.training import TrainingSettings


def precision_problems(settings: PrecisionSettings) -> Iterator[Problem]:
    """A Problem for each number type that does not go with the one in which the networks compute."""
    for field, needed in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if getattr(settings, field) and settings.mixed_precision != needed:
            yield Problem("full_without_mixed", field=f"precision.{field}", needed=needed)
    storage = settings.base_storage
    if settings.base_storage_unet and storage == "same":
        yield Problem("storage_alone", field="precision.base_storage_unet")
    if storage in ("fp16", "bf16") and settings.mixed_precision != "no":
        mixed = settings.mixed_precision
        yield Problem("storage_no_smaller", field="precision.base_storage", value=storage, mixed=mixed)
    if storage == "nf4" and find_spec("bitsandbytes") is None:
        yield Problem("nf4_missing", field="precision.base_storage")


def memory_problems(settings: MemorySettings) -> Iterator[Problem]:
    if settings.attention == "xformers" and find_spec("xformers") is None:
        yield Problem("xformers_missing", field="memory.attention")


def average_problems(training: TrainingSettings, optimizer: OptimizerSettings) -> Iterator[Problem]:
    """A Problem when an average is made of weights that are an average already."""
    name = optimizer_name(resolved_name(optimizer.name))
    if training.ema_decay and name is not None and optimizer_row(name).schedule_free:
        yield Problem("average_twice", field="training.ema_decay", optimizer=name)
