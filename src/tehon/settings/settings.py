"""All settings, and the rules between them.

>>> settings = Settings.model_validate({"model": {"path": "demo"}, "data": {...}, "output": {...}})
"""

from pydantic import Field

from tehon.messages.problem import Problem, raise_all
from tehon.settings.dataset import DataSettings
from tehon.settings.model import ModelSettings
from tehon.settings.network import NetworkSettings
from tehon.settings.network_rules import network_problems
from tehon.settings.optimizer import OptimizerSettings
from tehon.settings.output import OutputSettings
from tehon.settings.section import Section
from tehon.settings.training import TrainingSettings


class Settings(Section):
    model: ModelSettings
    """The base model."""

    data: DataSettings
    """Pictures and captions."""

    network: NetworkSettings = Field(default_factory=NetworkSettings)
    """The adapter."""

    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    """Learning rates."""

    training: TrainingSettings = Field(default_factory=TrainingSettings)
    """Length, seed and device."""

    output: OutputSettings
    """Results."""


def check_rules(settings: Settings) -> None:
    """Raises one Problem for each rule between fields that the settings break."""
    found: list[Problem] = []
    rates, data = settings.optimizer, settings.data
    unet = rates.learning_rate if rates.unet_lr is None else rates.unet_lr
    if unet == 0 and rates.text_encoder_lr == 0:
        found.append(Problem("nothing_trained", field="optimizer.unet_lr"))
    if isinstance(data.resolution, list) and len(data.resolution) != 2:
        found.append(Problem("resolution_not_two", field="data.resolution", count=len(data.resolution)))
    sides = data.resolution if isinstance(data.resolution, list) else [data.resolution or 8]
    if not data.enable_bucket and any(side % 8 for side in sides):
        found.append(Problem("resolution_not_eight", field="data.resolution", value=data.resolution))
    if data.min_bucket_reso > data.max_bucket_reso:
        found.append(
            Problem("bucket_range", field="data.min_bucket_reso", low=data.min_bucket_reso, high=data.max_bucket_reso)
        )
    found += network_problems(settings.network)
    raise_all(found)
