"""The base model that the LoRA is trained on."""

from typing import Literal

from tehon.settings.section import Section


class ModelSettings(Section):
    path: str
    """The base model: a checkpoint file, a diffusers folder, a name on the Hugging Face hub, or `demo`, tehon's own."""

    revision: str = ""
    """The branch, tag or commit of a model on the hub. Empty: its main branch."""

    vae: str = ""
    """Another VAE than the model's own: a file or a diffusers folder."""

    tokenizer: str = ""
    """A folder with CLIP's vocabulary (vocab.json and merges.txt). Empty: the model's own; a checkpoint file has none,
    and takes that of openai/clip-vit-large-patch14 from the hub."""

    prediction: Literal["epsilon", "v"] | None = None
    """What the model was trained to predict: epsilon, the noise, or v, the velocity. Empty: what the model says itself;
    2.x checkpoint files often don't."""
