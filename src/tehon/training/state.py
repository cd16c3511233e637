"""All that changes while a run trains, and how it is saved and comes back.

Random numbers are functions of (seed, epoch, picture) and the rates are functions of the step, so what the adapters
hold, the optimizer's memory and the step number are the whole state. The generators that the process shares are saved
with it, for optimizers of other libraries that may draw from them.

A state file is one line, `tehon-state 1 <blake2b of the rest>`, and what torch.save writes.
"""

import io
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tehon import __version__
from tehon.adapters.flat import FlatParameters
from tehon.disk import check_space, write_whole
from tehon.messages.problem import Problem, reason_of
from tehon.training.average import Average, LastGood
from tehon.training.generators import generator_states, restore_generators
from tehon.training.optimizers import Optimizer, leave_out, restore_memory
from tehon.training.scaling import LossScale

_KIND, _VERSION = b"tehon-state ", b"1 "
_MARK = _KIND + _VERSION
_PARTS = ("step", "weights", "optimizer", "generators", "about")


@dataclass
class State:
    """`step` counts the updates that are done. `moving` is true while one is made, when weights and optimizer need not
    belong together."""

    flat: FlatParameters
    optimizer: Optimizer
    step: int = 0
    moving: bool = False
    arguments: Collection[str] = ()
    """The optimizer's arguments that settings decide, and not a state."""
    endings: Mapping[str, int] = field(default_factory=dict[str, int])
    """{group of weights whose training ends before the others': after how many updates}."""
    kept: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Tensors of the adapters that gradients don't move and that what is trained fits: LoRA-FA's down matrices, which
    another seed would draw otherwise, the order of DyLoRA's ranks and what flowed through them."""

    scale: LossScale | None = None
    average: Average | None = None

    @property
    def ended(self) -> set[str]:
        """The groups of weights whose training has ended."""
        return {name for name, last in self.endings.items() if self.step >= last}

    def settle(self) -> bool:
        """Takes groups whose training has ended out of the optimizer, once; whether there were such."""
        gone = self.ended & set(_names(self.optimizer.param_groups))
        if gone:
            leave_out(self.optimizer, self.flat, gone)
        return bool(gone)

    def __post_init__(self) -> None:
        self.good = LastGood(self.flat.weights, self.step)

    def begin_update(self) -> None:
        self.good.note(self.flat.weights, self.step)
        self.moving = True

    def state_dict(self) -> dict[str, Any]:
        found = {"step": self.step, "weights": self.flat.weights, "optimizer": self.optimizer.state_dict()}
        if self.kept:
            found["kept"] = dict(self.kept)
        if self.scale is not None:
            found["scale"] = self.scale.state_dict()
        if self.average is not None:
            found["average"] = self.average.weights
        return found

    def load_state_dict(self, saved: dict[str, Any], tried: bool = False) -> None:
        """The chosen arguments stay as they are; all else of the optimizer is as it was saved. ValueError when that
        had other groups of weights. `tried`: the optimizer makes a step with what it remembers, which is undone, and
        raises what it likes when its arguments need more."""
        self.step = int(saved["step"])
        then = _names(saved["optimizer"]["param_groups"])
        if then != _names(self.optimizer.param_groups):  # it was saved after the training of some had ended
            self.settle()
        groups = self.optimizer.param_groups
        if then != _names(groups):
            raise ValueError("the optimizer has other groups of weights")
        kept: dict[str, Tensor] = saved.get("kept", {})
        if {name: t.shape for name, t in kept.items()} != {name: t.shape for name, t in self.kept.items()}:
            raise ValueError("the adapters keep other tensors")
        with torch.no_grad():
            for name, tensor in self.kept.items():
                tensor.copy_(kept[name])
        if tried:
            self._take_memory(deepcopy(saved))  # an optimizer may go on in the very tensors that it is given
            self.flat.gradients.fill_(1.0)
            self.optimizer.step()
        self._take_memory(saved)
        if self.scale is not None and "scale" in saved:
            self.scale.load_state_dict(saved["scale"])
        if self.average is not None:  # one that is new begins with the weights
            self.average.weights.copy_(saved.get("average", self.flat.weights))
        self.good = LastGood(self.flat.weights, self.step, self.good.every)
        self.settle()

    def _take_memory(self, saved: dict[str, Any]) -> None:
        groups = self.optimizer.param_groups
        chosen = [{name: group[name] for name in self.arguments if name in group} for group in groups]
        self.flat.weights.copy_(saved["weights"])
        restore_memory(self.optimizer, saved["optimizer"])
        for group, values in zip(self.optimizer.param_groups, chosen, strict=True):
            group.update(values)

    @property
    def device(self) -> torch.device:
        return self.flat.weights.device


def _names(groups: Iterable[Mapping[str, Any]]) -> list[str]:
    return [group["name"] for group in groups]


def save_state(state: State, file: Path, about: dict[str, Any]) -> None:
    """The file is there whole or not at all. `about` says in plain values what the state belongs to."""
    buffer = io.BytesIO()
    torch.save(state.state_dict() | {"generators": generator_states(state.device), "about": about}, buffer)
    content = buffer.getbuffer()
    check_space(file.parent, len(content))
    write_whole(file, _MARK + _digest(content) + b"\n", content)


def read_state(file: Path) -> dict[str, Any]:
    """What was saved, on the CPU; a Problem when not every byte is as it was written, and another one when it was
    written by a version of tehon or PyTorch whose states are not read here."""
    try:
        content = memoryview(file.read_bytes())
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    start = len(_MARK) + len(_digest(b"")) + 1
    foreign = Problem("state_foreign", path=file, tehon=__version__, torch=torch.__version__)
    if bytes(content[: len(_KIND)]) == _KIND and bytes(content[len(_KIND) : len(_MARK)]) != _VERSION:
        raise foreign
    if bytes(content[:start]) != _MARK + _digest(content[start:]) + b"\n":
        raise Problem("state_broken", path=file)
    try:
        saved = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  it is whole, so whatever this torch stumbles over, another one wrote
        raise foreign from None
    if not isinstance(saved, dict) or any(part not in saved for part in _PARTS):
        raise foreign
    return saved


def restore_state(state: State, saved: dict[str, Any], file: Path, tried: bool = False) -> None:
    """Brings back what was read; a Problem when it is of another network or optimizer. `tried` as with State."""
    try:
        state.load_state_dict(saved, tried)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise Problem("state_unfit", path=file, reason=reason_of(error)) from None
    restore_generators(saved["generators"], state.device)


def _digest(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=32).hexdigest().encode()
