"""LoRA files that become part of the model before the training: sd-scripts' `base_weights`. No torch.

What is trained then comes on top of them, and does what it learned only where they are loaded too.
"""

from dataclasses import dataclass
from pathlib import Path

from tehon.catalog.header import read_header
from tehon.catalog.kinds import kind_of
from tehon.catalog.lora_names import not_a_lora
from tehon.catalog.model import Model
from tehon.messages.problem import Problem, raise_all
from tehon.planning.start import StartFile, fitted
from tehon.settings.network import NetworkSettings


@dataclass(frozen=True)
class BaseFile:
    """A LoRA file with the strength at which it is merged."""

    path: Path
    strength: float


def read_base_weights(network: NetworkSettings, model: Model) -> tuple[BaseFile, ...]:
    """The files of `network.base_weights`; Problems for all that are no LoRA or don't fit the model, at once."""
    given = network.base_weights
    paths = [Path(path) for path in (given if isinstance(given, list) else [given]) if path]
    strengths = network.base_weights_multiplier
    each = strengths if isinstance(strengths, list) else [strengths] * len(paths)
    if len(each) != len(paths):
        field = "network.base_weights_multiplier"
        raise Problem("base_multipliers", field=field, count=len(each), wanted=len(paths))
    problems: list[Problem] = []
    for path in paths:
        try:
            header = read_header(path)
            layers = header.layers()
            if all(kind_of(tensors) is None for tensors in layers.values()):
                raise not_a_lora(path, header.shapes)
            fitted(StartFile(path, layers, {}), model)
        except Problem as problem:
            problems += problem.all
    raise_all(problems)
    return tuple(BaseFile(path, strength) for path, strength in zip(paths, each, strict=True))
