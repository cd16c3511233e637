"""Learning-rate schedules: the factor on each part's own rate, at each step.

The formulas are those of transformers' schedulers as sd-scripts calls them, except that `polynomial` heeds the cycles.

>>> schedule = Schedule("cosine", total=1000, warmup=100)
>>> schedule.factor(50), schedule.factor(550)
(0.5, 0.5)
"""

from dataclasses import dataclass
from math import cos, pi

_POLYNOMIAL_END = 1e-7  # the rate at which polynomial ends


@dataclass(frozen=True)
class Schedule:
    """One schedule over `total` steps, the first `warmup` of which climb from zero.

    `base` is the run's learning rate; only polynomial needs it, to know which factor its end rate is.
    """

    name: str
    total: int
    warmup: int = 0
    cycles: int = 1
    power: float = 1.0
    base: float = 1e-4

    def factor(self, step: int) -> float:
        """The factor for the update number `step`, counted from 0."""
        if self.name == "constant":
            return 1.0
        if step < self.warmup:
            return step / self.warmup
        if self.name == "constant_with_warmup":
            return 1.0
        x = (step - self.warmup) / max(1, self.total - self.warmup)
        return self._falling(x)

    def _falling(self, x: float) -> float:
        """The factor at the share x of the way after the warm-up."""
        match self.name:
            case "linear":
                return max(0.0, 1 - x)
            case "cosine":
                return max(0.0, 0.5 * (1 + cos(pi * x)))
            case "cosine_with_restarts":
                return max(0.0, 0.5 * (1 + cos(pi * (self.cycles * x % 1)))) if x < 1 else 0.0
            case "polynomial":
                end = min(1.0, _POLYNOMIAL_END / self.base) if self.base else 1.0
                rest = 1 - self.cycles * x % 1 if x < 1 else 0.0
                return (1 - end) * rest**self.power + end
            case _:
                raise ValueError(f"no schedule is called {self.name}")


def warmup_steps(name: str, percent: float, total: int) -> int:
    """How many steps the warm-up takes; none for `constant`."""
    return 0 if name == "constant" else int(percent * total / 100 + 0.5)
