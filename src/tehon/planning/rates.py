"""Learning-rate schedules: the factor on each part's own rate, at each step.

The formulas are those of transformers' schedulers as sd-scripts calls them, except that `polynomial` heeds the cycles
and `cosine_with_min_lr` jumps back after each; `rex` is arXiv 2107.04197, eq. 3, and `adafactor` the relative step of
arXiv 1804.04235, algorithm 5, before it is scaled by the size of each tensor.

>>> schedule = Schedule("cosine", total=1000, warmup=100)
>>> schedule.factor(50), schedule.factor(550)
(0.5, 0.5)
"""

from dataclasses import dataclass
from math import cos, pi

from tehon.settings.optimizer import OptimizerSettings
from tehon.settings.schedule_rules import HEEDED, Pieces, read_pieces

_POLYNOMIAL_END = 1e-7  # the rate at which polynomial ends
_TIMESCALE = 10_000  # of inverse_sqrt without warm-up


@dataclass(frozen=True)
class Schedule:
    """One schedule over `total` steps, the first `warmup` of which climb from zero.

    `base` is the run's learning rate; only polynomial needs it, to know which factor its end rate is. `floor` is the
    factor at which cosine_with_min_lr and warmup_stable_decay end, `decay` the number of steps in which the latter gets
    there, `timescale` the steps in which inverse_sqrt falls to 0.7. `pieces` are piecewise_constant's (last step,
    factor), in order. `slow_start` is Adafactor's warmup_init.
    """

    name: str
    total: int
    warmup: int = 0
    cycles: int = 1
    power: float = 1.0
    base: float = 1e-4
    floor: float = 0.0
    decay: int = 0
    timescale: int = 0
    pieces: Pieces = ()
    slow_start: bool = False

    def factor(self, step: int) -> float:
        """The factor for the update number `step`, counted from 0."""
        if self.name == "constant":
            return 1.0
        if self.name == "adafactor":
            return min(1e-6 * (step + 1) if self.slow_start else 1e-2, (step + 1) ** -0.5)
        if self.name == "piecewise_constant":
            return next((factor for last, factor in self.pieces if step < last), 1.0)
        if step < self.warmup:
            return step / self.warmup
        if self.name == "constant_with_warmup":
            return 1.0
        if self.name == "inverse_sqrt":
            timescale = self.timescale or self.warmup or _TIMESCALE
            return (1 + (step - self.warmup) / timescale) ** -0.5
        if self.name == "warmup_stable_decay":
            share = (step - (self.total - self.decay)) / max(1, self.decay)
            return self._down_to_floor(min(1.0, max(0.0, share)))
        x = (step - self.warmup) / max(1, self.total - self.warmup)
        return self._falling(x)

    def _down_to_floor(self, x: float) -> float:
        return 0.5 * (1 + cos(pi * x)) * (1 - self.floor) + self.floor

    def _falling(self, x: float) -> float:
        """The factor at the share x of the way after the warm-up."""
        match self.name:
            case "linear":
                return max(0.0, 1 - x)
            case "cosine":
                return max(0.0, 0.5 * (1 + cos(pi * x)))
            case "cosine_with_restarts":
                return max(0.0, 0.5 * (1 + cos(pi * (self.cycles * x % 1)))) if x < 1 else 0.0
            case "cosine_with_min_lr":
                return self._down_to_floor(self.cycles * x % 1 if x < 1 else 1.0)
            case "rex":
                return max(0.0, (1 - x) / (1 - x / 2))
            case "polynomial":
                end = min(1.0, _POLYNOMIAL_END / self.base) if self.base else 1.0
                rest = 1 - self.cycles * x % 1 if x < 1 else 0.0
                return (1 - end) * rest**self.power + end
            case _:
                raise ValueError(f"no schedule is called {self.name}")


def schedule_for(settings: OptimizerSettings, total: int, base: float, slow_start: bool) -> Schedule:
    """The schedule that the settings ask for over `total` steps; `base` is the run's learning rate."""
    name = settings.lr_scheduler
    return Schedule(
        name,
        total,
        warmup=warmup_steps(name, settings.lr_warmup, settings.lr_warmup_steps, total),
        cycles=settings.lr_scheduler_num_cycles,
        power=settings.lr_scheduler_power,
        base=base,
        floor=settings.lr_scheduler_min_lr_ratio,
        decay=_steps(settings.lr_decay, total),
        timescale=settings.lr_scheduler_timescale,
        pieces=read_pieces(settings.lr_scheduler_pieces) if name == "piecewise_constant" else (),
        slow_start=slow_start,
    )


def warmup_steps(name: str, percent: float, steps: int, total: int) -> int:
    """How many steps the warm-up takes; none for the schedules that have none."""
    if "lr_warmup" not in HEEDED[name]:
        return 0
    return steps or _steps(percent, total)


def text_steps(percent: float, total: int) -> int:
    """How many of `total` updates train the text encoders: up to that percentage, but one at least; all at 0."""
    return max(1, _steps(percent, total)) if percent else total


def _steps(percent: float, total: int) -> int:
    return int(percent * total / 100 + 0.5)
