"""All settings.

>>> settings = Settings.model_validate({"model": {"path": "demo"}, "data": {...}, "output": {...}})
"""

from pydantic import Field

from tehon.settings.dataset import DataSettings
from tehon.settings.feed import FeedSettings
from tehon.settings.logs import LogSettings
from tehon.settings.memory import MemorySettings
from tehon.settings.model import ModelSettings
from tehon.settings.network import NetworkSettings
from tehon.settings.objective import ObjectiveSettings
from tehon.settings.optimizer import OptimizerSettings
from tehon.settings.output import OutputSettings
from tehon.settings.precision import PrecisionSettings
from tehon.settings.samples import SampleSettings
from tehon.settings.section import Section
from tehon.settings.text import TextSettings
from tehon.settings.training import TrainingSettings
from tehon.settings.validation import ValidationSettings


class Settings(Section):
    """All that can be set, section by section, as `load_settings` checks it; docs/settings.md says what each means. It
    can't be changed: `load_settings` takes options that win over the file."""

    model: ModelSettings
    """The base model."""

    data: DataSettings = Field(default_factory=DataSettings)
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

    precision: PrecisionSettings = Field(default_factory=PrecisionSettings)
    """Number types."""

    memory: MemorySettings = Field(default_factory=MemorySettings)
    """What saves memory."""

    validation: ValidationSettings = Field(default_factory=ValidationSettings)
    """The loss on held-out pictures."""

    samples: SampleSettings = Field(default_factory=SampleSettings)
    """Pictures on the way."""

    logs: LogSettings = Field(default_factory=LogSettings)
    """Logs for other programs."""

    output: OutputSettings
    """Results."""
