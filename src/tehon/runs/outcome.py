"""How a training ended, for whoever started it; what others can see of a run is in `status`.

>>> train(plan).lora
PosixPath('output/mofu.safetensors')
"""

from dataclasses import dataclass
from pathlib import Path

from tehon.runs.layout import RunDirectory


@dataclass(frozen=True)
class Outcome:
    """`run` is its directory, `lora` the finished file, or None when it was stopped before its last step, and `steps`
    how many updates it has made."""

    run: RunDirectory
    lora: Path | None
    steps: int
