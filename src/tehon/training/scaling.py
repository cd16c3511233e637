"""Dynamic loss scaling for fp16 (arXiv 1710.03740, section 3.2): losses are multiplied before the backward so that
small gradients don't vanish. Gradients that come out too large for fp16 are thrown away and the factor is halved.

>>> scale = LossScale()
>>> scale.settle(finite=False), scale.factor, scale.skipped
(False, 32768.0, 1)
"""

from dataclasses import asdict, dataclass
from typing import Any

_SMALLEST = 1.0


@dataclass
class LossScale:
    """The rule and its numbers are torch.amp.GradScaler's, but for a least factor of 1: what is not finite even then is
    no matter of scale. `good` counts updates since the factor last changed, `skipped` those that were thrown away."""

    factor: float = 2.0**16
    good: int = 0
    skipped: int = 0
    interval: int = 2000

    def settle(self, finite: bool) -> bool:
        """Whether an update may be made with these gradients; changes the factor for the next ones."""
        if finite:
            self.good += 1
            if self.good == self.interval:
                self.factor, self.good = self.factor * 2, 0
            return True
        if self.factor <= _SMALLEST:
            return True
        self.factor, self.good = max(self.factor / 2, _SMALLEST), 0
        self.skipped += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.factor, self.good = float(saved["factor"]), int(saved["good"])
        self.skipped, self.interval = int(saved["skipped"]), int(saved["interval"])
