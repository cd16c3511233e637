"""What a row of the tables of foreign options is. One row says where an option of sd-scripts or kohya_ss goes.

An option is named as sd-scripts names it; one of `--network_args` has `network_args.` before its name, one of
`accelerate launch` has `accelerate.`, and what only the GUI knows has `gui.`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tehon.settings.kohya.lines import Outcome, Remark

ARGUMENT, LAUNCHER, GUI = "network_args.", "accelerate.", "gui."
UNSAID = object()
"""The default of an option that needs none: what tehon does without it is what sd-scripts does, or as good."""


@dataclass(frozen=True)
class Given:
    """An option that was given. `key` and `raw` are as the file has them; `value` is what stands for it. `reasons` say
    why that is another one, `differences` what the other program would have made of it."""

    value: Any
    key: str
    raw: Any
    reasons: tuple[Remark, ...] = ()
    differences: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Around:
    """What else was given, for rows whose meaning depends on it. `whole`: it describes a whole training, so that what
    it does not say is sd-scripts' default. `on_top`: it is put on top of settings, over which it wins; what these mean
    is among the values."""

    values: Mapping[str, Any]
    whole: bool = False
    sdxl: bool = False
    on_top: bool = False

    def get(self, option: str, otherwise: Any = None) -> Any:
        found = self.values.get(option)
        return otherwise if found is None else found


Carry = Callable[[Any, Around], Outcome]
Back = Callable[[Mapping[str, Any]], Any]
"""From {dotted name: value} of our settings to the option's value; None leaves the option out."""


@dataclass(frozen=True)
class Row:
    """An option and its kind of value, our setting of the same meaning, and sd-scripts' default where ours differs.

    `carry` and `back` convert where the value is not simply the same. `differs` names the remark on what the other
    program does with it, made when it is switched on; `absent` the one made when it is not given. `always`: it is
    exported even at our own default, because sd-scripts goes by something else without it.
    """

    option: str
    kind: str
    target: str = ""
    default: Any = UNSAID
    carry: Carry | None = None
    back: Back | None = None
    differs: str = ""
    absent: str = ""
    reaches: tuple[str, ...] = field(default=())
    always: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """All settings that the option can set."""
        return (self.target, *self.reaches) if self.target else self.reaches

    @property
    def is_script(self) -> bool:
        """Whether it is an option of train_network.py itself."""
        return "." not in self.option
