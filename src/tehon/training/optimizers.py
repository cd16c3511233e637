"""Builds an optimizer from its row in the catalog, over the flat parameters or over their views."""

import inspect
from collections.abc import Collection, Container, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import nn

from tehon.adapters.flat import FlatParameters
from tehon.catalog.optimizers import OptimizerRow, optimizer_row
from tehon.messages.problem import Problem, reason_of

_PROBE = 4096  # numbers; 8-bit optimizers keep smaller parameters in 32 bits
_PROBE_STEPS = 8  # RAdam divides by its second moment from the sixth on


class Optimizer(Protocol):
    """What the loop and the saved states need of an optimizer; torch's own optimizers fit."""

    param_groups: list[dict[str, Any]]
    """Each has a `name` and its rate, `lr`."""

    state: Any
    """What is remembered of each parameter."""

    def step(self) -> Any:
        """Moves the weights by their gradients."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def build_optimizer(
    name: str, arguments: Mapping[str, Any], flat: FlatParameters, spared: Container[str] = ()
) -> Optimizer:
    """The optimizer called `name`, one parameter group for each group of `flat`, named for it. Rates are set before
    each step; weight decay leaves the `spared` groups alone. A Problem when its package is missing, or when it does not
    take an argument."""
    row = optimizer_row(name)
    kind = _class_of(row, name)
    known = inspect.signature(kind).parameters
    values = {**row.fixed, **arguments}
    for argument in values:
        if argument not in known:
            names = ", ".join(known)
            raise Problem("optimizer_argument", field="optimizer.arguments", name=argument, optimizer=name, names=names)
    members = flat.groups if row.flat else flat.members
    spare = {"weight_decay": 0.0} if "weight_decay" in known else {}
    groups: list[dict[str, Any]] = [
        {"params": _listed(parameters), "name": group, **(spare if group in spared else {})}
        for group, parameters in members.items()
    ]
    try:
        optimizer = kind(groups, lr=1.0 if row.rate_free else 1e-3, **values)
    except (TypeError, ValueError, AssertionError) as error:
        raise Problem("optimizer_refuses", field="optimizer.arguments", optimizer=name, reason=error) from None
    to_train(optimizer)
    return optimizer


def try_optimizer(
    name: str, arguments: Mapping[str, Any], device: torch.device, dtype: torch.dtype = torch.float32
) -> None:
    """A Problem when the optimizer can't be built, or can't move weights of a type on a device: before anything else is
    done, and not at the first step.

    Half of the gradients are 0, as all those of a LoRA's A are at first: divided by them, 16 bits may overflow."""
    flat = FlatParameters({"probe": [nn.Parameter(torch.zeros(_PROBE, device=device))]}, dtype)
    optimizer = build_optimizer(name, arguments, flat)
    flat.gradients.copy_(torch.linspace(-1, 1, _PROBE))
    flat.gradients[::2] = 0
    try:
        for _ in range(_PROBE_STEPS if dtype.itemsize < 4 else 1):
            optimizer.step()
        finite = bool(flat.weights.isfinite().all())
    except Exception as error:  # noqa: BLE001  each package has errors of its own
        raise Problem("optimizer_device", optimizer=name, device=device, reason=reason_of(error)) from None
    if not finite:
        raise Problem("optimizer_overflows", optimizer=name, type=str(dtype).removeprefix("torch."))


def _class_of(row: OptimizerRow, name: str) -> Any:
    module, _, last = row.path.rpartition(".")
    try:
        found = getattr(import_module(module), last, None)
    except ImportError:
        raise Problem("optimizer_missing", field="optimizer.name", optimizer=name, package=row.package) from None
    if not (isinstance(found, type) and hasattr(found, "step")):
        raise Problem("optimizer_unknown", field="optimizer.name", optimizer=name)
    return found


def _listed(parameters: nn.Parameter | Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)


def update(optimizer: Optimizer, rates: Mapping[str, float]) -> None:
    """One step at {name of a group: its rate}. Optimizers that find their own rate `d` divide by the rate, so they wait
    while that is 0."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    waits = "d" in optimizer.param_groups[0] and not any(rates.values())
    if not waits:
        optimizer.step()


def leave_out(optimizer: Optimizer, flat: FlatParameters, names: Collection[str]) -> None:
    """Takes groups out for good, so that no step moves them any more: not by weight decay, by momentum, or by an
    average that goes on. They keep the weights to use. What an optimizer remembers of all weights together stays with
    the others, such as the rate that it has found."""
    with in_use(optimizer, flat):
        used = {name: flat.groups[name].detach().clone() for name in names}
    groups = optimizer.param_groups
    gone, others = ([group for group in groups if (group["name"] in names) == out] for out in (True, False))
    for shared, value in groups[0].items():
        others[0].setdefault(shared, value)
    groups[:] = others
    for group in gone:
        for parameter in group["params"]:
            optimizer.state.pop(parameter, None)
    flat.freeze(used)


def restore_memory(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Gives an optimizer the memory that was saved. torch's own way rounds it to the type of the weights, which may be
    narrower than what the optimizer remembers in."""
    optimizer.load_state_dict(saved)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        memory = optimizer.state[parameter]
        for name, value in saved["state"].get(number, {}).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and memory[name].dtype != value.dtype:
                memory[name] = value.to(memory[name].device, copy=True)


def to_train(optimizer: Optimizer) -> None:
    """Schedule-free optimizers keep two sets of weights: this puts those to train into the parameters."""
    if hasattr(optimizer, "train"):
        optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def in_use(optimizer: Optimizer, flat: FlatParameters) -> Generator[None, None, None]:
    """While it lasts the parameters hold the weights to use, for measuring, drawing and saving the LoRA; afterwards
    those to train, to the last bit."""
    if not hasattr(optimizer, "eval"):
        yield
        return
    training = flat.weights.clone()
    optimizer.eval()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]
        flat.weights.copy_(training)
