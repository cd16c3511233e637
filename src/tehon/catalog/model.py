"""A base model before it is loaded: where it lies, of which family it is, and what its networks look like. No torch.

>>> model = find_model("model.safetensors")
>>> model.family.name, model.prediction, model.native_side
('sd1', 'epsilon', 512)
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tehon.catalog.families import Family, Prediction

_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt")
PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v"}
"""diffusers' words for what a network predicts, and ours."""
Source = Literal["file", "setting", "weights", "family"]
"""Who says what a network predicts: see `tehon.catalog.prediction.decide`."""


@dataclass(frozen=True)
class Model:
    """`path` is a folder in diffusers' layout or a checkpoint of one file. `configs` are its networks' configurations
    by part, in the words of diffusers and transformers, `schedule` that of its scheduler. `vae` is a VAE of its own, a
    file or a folder, `tokenizer` the folder of CLIP's vocabulary; None: the model's own. `told_by` says who knows
    what it predicts."""

    path: Path
    family: Family
    configs: Mapping[str, dict[str, Any]]
    schedule: Mapping[str, Any]
    vae: Path | None = None
    tokenizer: Path | None = None
    told_by: Source = "file"

    @property
    def single_file(self) -> bool:
        return self.path.is_file()

    @property
    def prediction(self) -> Prediction:
        """What the network was trained to predict: the noise, or the velocity."""
        return PREDICTIONS[self.schedule.get("prediction_type", "epsilon")]

    @property
    def zero_snr(self) -> bool:
        """Whether its noise ends in pure noise."""
        return bool(self.schedule.get("rescale_betas_zero_snr"))

    def with_zero_snr(self) -> "Model":
        """The same networks for noise that ends in pure noise, drawn from there on (arXiv 2305.08891, sections 3.1 and
        3.3)."""
        return replace(self, schedule={**self.schedule, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"})

    @property
    def native_side(self) -> int:
        """The side in pixels that the model was made for, by its U-Net's configuration."""
        latent = self.configs["unet"].get("sample_size")
        return (
            latent * self.family.stride if isinstance(latent, int) else self.family.labels[self.prediction].native_side
        )

    def vocabulary(self) -> Path:
        """The folder with the vocabulary of the first text encoder."""
        return self.tokenizer or self.path / "tokenizer"

    def files(self) -> Iterator[tuple[str, Path]]:
        """(a name that does not depend on where the model lies, file) of all its weights."""
        for place, start in (("", self.path), ("vae ", self.vae)):
            if start is not None and start.is_file():
                yield f"{place}{start.suffix}", start
            elif start is not None:
                found = (Path(at, name) for at, _, names in os.walk(start, followlinks=True) for name in names)
                for file in sorted(found):
                    if file.suffix in _WEIGHTS and file.is_file():  # and no link to what is gone
                        yield f"{place}{file.relative_to(start)}", file


def expanded(path: str) -> Path:
    """A path as it was typed, with the home folder put in. `~name` stays where there is no such user, as in a shell;
    pathlib's own way raises an error then."""
    return Path(os.path.expanduser(path))
