"""What became of each key that was brought along: the lines of an import's report.

>>> line = Line("flip_aug", True, carried({"data.flip_aug": True}))
>>> line.fate
'carried'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

Fate = Literal["carried", "changed", "dropped", "assumed"]
FATES: tuple[Fate, ...] = ("changed", "dropped", "assumed", "carried")
"""In the order of a report: what a person has to look at stands first."""


@dataclass(frozen=True)
class Remark:
    """A sentence of the group `kohya`, spoken when it is shown."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict[str, object])

    def __str__(self) -> str:
        return say(f"kohya.{self.key}", **self.values)


Reason = Remark | Problem
UNEXPANDED = ("unexpanded", "unexpanded_setting")
"""The remarks on what only a shell could fill in."""
REMEDIED = (
    *UNEXPANDED,
    *("value_missing", "not_its_kind", "not_a_size", "stray_word", "pair_missing"),
    *("decay_in_steps",),
)
"""The remarks that say what to do."""


@dataclass(frozen=True)
class Outcome:
    """What a key became: settings by their dotted names, why it is not just that, and what the program that it comes
    from does differently. `blocks`: training without it would not be what was asked for."""

    fate: Fate
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    reasons: tuple[Reason, ...] = ()
    differences: tuple[Remark, ...] = ()
    blocks: bool = False


@dataclass
class Line:
    """A key as the file or the command line has it, its value, and what became of it."""

    key: str
    value: Any
    outcome: Outcome

    @property
    def fate(self) -> Fate:
        return self.outcome.fate

    @property
    def reason(self) -> str:
        """Why it is not simply carried over, to be put into a sentence."""
        return "; ".join(str(reason).rstrip(".。") for reason in self.outcome.reasons)

    @property
    def remedied(self) -> bool:
        """Whether the reason itself says what to do, so that leaving the key out is not the remedy."""
        reasons = self.outcome.reasons
        return any(isinstance(reason, Problem) or reason.key in REMEDIED for reason in reasons)

    @property
    def open(self) -> list[str]:
        """The settings that are still to be given, since nobody knows what a variable stands for."""
        return [
            str(one.values["field"])
            for one in self.outcome.reasons
            if isinstance(one, Remark) and "field" in one.values
        ]

    @property
    def waits(self) -> bool:
        """Whether it is known what is meant, but not what a variable in it stands for."""
        return any(isinstance(reason, Remark) and reason.key in UNEXPANDED for reason in self.outcome.reasons)

    def as_data(self) -> dict[str, Any]:
        """The line for machines."""
        own = self.outcome
        return {
            "key": self.key,
            "value": self.value,
            "fate": own.fate,
            "settings": own.settings,
            "reasons": [str(reason) for reason in own.reasons],
            "differences": [str(remark) for remark in own.differences],
        }


def carried(settings: dict[str, Any], *differences: Remark) -> Outcome:
    """The value means the same here."""
    return Outcome("carried", settings, differences=differences)


def changed(settings: dict[str, Any], *reasons: Reason) -> Outcome:
    """Another value stands for it here."""
    return Outcome("changed", settings, reasons)


def dropped(*reasons: Reason) -> Outcome:
    """Nothing stands for it here, and nothing needs to."""
    return Outcome("dropped", {}, reasons)


def refused(*reasons: Reason) -> Outcome:
    """Nothing stands for it here, and a training without it is another one."""
    return Outcome("dropped", {}, reasons, blocks=True)
