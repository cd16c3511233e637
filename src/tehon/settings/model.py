"""The base model that the LoRA is trained on."""

from tehon.settings.section import Section


class ModelSettings(Section):
    path: str
    """The base model: a diffusers folder, or `demo` for the small model that comes with tehon."""
