"""All settings, and the rules between them.

>>> settings = Settings.model_validate({"model": {"path": "demo"}, "data": {...}, "output": {...}})
"""

from pydantic import Field

from tehon.messages.problem import Problem, raise_all
from tehon.settings.dataset import DataSettings
from tehon.settings.feed import FeedSettings
from tehon.settings.model import ModelSettings
from tehon.settings.network import NetworkSettings
from tehon.settings.objective import ObjectiveSettings
from tehon.settings.optimizer import OptimizerSettings
from tehon.settings.output import OutputSettings
from tehon.settings.section import Section
from tehon.settings.text import TextSettings
from tehon.settings.training import TrainingSettings


class Settings(Section):
    model: ModelSettings
    """The base model."""

    data: DataSettings
    """Pictures and captions."""

    text: TextSettings = Field(default_factory=TextSettings)
    """From captions to what the U-Net is told."""

    feed: FeedSettings = Field(default_factory=FeedSettings)
    """Caches and loader processes."""

    network: NetworkSettings = Field(default_factory=NetworkSettings)
    """The adapter."""

    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    """The loss."""

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
    raise_all(found)
