"""Which optimizer a run uses, with which arguments: from what was written to what will be built, or Problems.

>>> read_arguments("weight_decay=0.1 betas=0.9,0.99")
{'weight_decay': 0.1, 'betas': (0.9, 0.99)}
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from tehon.catalog.optimizers import NUMBER, OPTIMIZERS, SWITCH, TWO, optimizer_name, optimizer_row
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.settings.network import NetworkSettings
from tehon.settings.optimizer import OptimizerSettings

PREFERRED, FALLBACK = "AdamW8bit", "AdamW"
_BITSANDBYTES = "bitsandbytes"
_ARGUMENT = re.compile(r"\s*([A-Za-z_]\w*)=((?:\([^)]*\)|\[[^\]]*\]|\"[^\"]*\"|'[^']*'|[^\s(\[\"'])+)(?=\s|$)")
_WITHOUT_SCHEDULE = ("constant", "constant_with_warmup")


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer by its name in the catalog or its import path. `relative`: Adafactor finds its own rates, which the
    plan follows as the schedule `adafactor`; `warmup_init` starts them lower."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    relative: bool = False
    warmup_init: bool = False


def choose_optimizer(settings: OptimizerSettings) -> OptimizerChoice:
    """What to build by settings that `optimizer_problems` finds nothing wrong with."""
    name = optimizer_name(settings.name)
    assert name is not None, "the settings are checked and resolved"
    arguments = read_arguments(settings.arguments)
    relative = _is_relative(name, arguments)
    arguments.pop("relative_step", None) if name == "Adafactor" else None
    warmup_init = bool(name == "Adafactor" and arguments.pop("warmup_init", False))
    return OptimizerChoice(name, arguments, relative, warmup_init)


def resolved_name(name: str) -> str:
    """The name as the catalog has it; an empty one is AdamW8bit where bitsandbytes can run, else AdamW. bitsandbytes'
    optimizers run on CPU and CUDA, and a Mac may be asked to train on neither."""
    if not name:
        return PREFERRED if find_spec(_BITSANDBYTES) and sys.platform != "darwin" else FALLBACK
    return optimizer_name(name) or name


def resolved_schedule(settings: OptimizerSettings) -> str:
    """The schedule that goes with the optimizer: Adafactor's own rates, and for those that need no schedule at most a
    warm-up."""
    name = resolved_name(settings.name)
    if _is_relative(name, read_arguments(settings.arguments)):
        return "adafactor"
    if optimizer_row(name).schedule_free and settings.lr_scheduler not in _WITHOUT_SCHEDULE:
        return "constant_with_warmup"
    return settings.lr_scheduler


def optimizer_problems(settings: OptimizerSettings, network: NetworkSettings) -> Iterator[Problem]:
    """A Problem for an optimizer that can't be built, for each wrong argument, and for what does not go with it."""
    name = optimizer_name(resolved_name(settings.name))
    if name is None:
        yield Problem("optimizer_name", field="optimizer.name", value=settings.name, names=", ".join(OPTIMIZERS))
        return
    row = optimizer_row(name)
    if row.package and not _installed(row.path.partition(".")[0]):
        yield Problem("optimizer_missing", field="optimizer.name", optimizer=name, package=row.package)
    try:
        arguments = read_arguments(settings.arguments)
    except Problem as problem:
        yield problem
        return
    if name in OPTIMIZERS:
        yield from _wrong_arguments(name, arguments)
    relative = _is_relative(name, arguments)
    if name == "Adafactor" and not relative and arguments.get("warmup_init"):
        yield Problem("adafactor_warmup", field="optimizer.arguments")
    if settings.lr_scheduler == "adafactor" and not relative:
        yield Problem("adafactor_schedule", field="optimizer.lr_scheduler", optimizer=name)
    if row.schedule_free and network.scale_weight_norms:
        yield Problem("norm_schedule_free", field="network.scale_weight_norms", optimizer=name)
    if row.rate_free:
        yield from _several_rates(name, settings, network)


def read_arguments(text: str) -> dict[str, Any]:
    """`name=value` pairs with blanks between; values as Python writes them, or text. Several numbers with commas
    between are a tuple. A Problem when it is not of this form."""
    found: dict[str, Any] = {}
    end = 0
    for match in _ARGUMENT.finditer(text):
        if match.start() != end:
            break
        found[match[1]] = _value(match[2])
        end = match.end()
    if text[end:].strip():
        raise Problem("optimizer_arguments", field="optimizer.arguments", value=text[end:].strip())
    return found


def _value(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return {"true": True, "false": False, "none": None, "inf": float("inf")}.get(text.lower(), text)
    return tuple(value) if isinstance(value, list) else value


def _is_relative(name: str, arguments: dict[str, Any]) -> bool:
    return name == "Adafactor" and arguments.get("relative_step", True) is not False


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module of that name that says nothing of where it comes from
        return False


def _several_rates(name: str, settings: OptimizerSettings, network: NetworkSettings) -> Iterator[Problem]:
    """Optimizers that find the rate find one for all weights, on which the learning rate is a factor."""
    unet = settings.learning_rate if settings.unet_lr is None else settings.unet_lr
    text = settings.text_encoder_lr
    if unet and text and unet != text:
        yield Problem("one_rate", field="optimizer.text_encoder_lr", optimizer=name, unet=unet, text=text)
    for field_name in ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"):
        if getattr(network, field_name) not in (None, 1):
            yield Problem("one_rate_factor", field=f"network.{field_name}", optimizer=name)


def _wrong_arguments(name: str, arguments: dict[str, Any]) -> Iterator[Problem]:
    """A Problem for each argument that the optimizer does not have, or that is of the wrong kind."""
    known = optimizer_row(name).arguments
    for argument, value in arguments.items():
        if argument not in known:
            yield Problem(
                "optimizer_argument", field="optimizer.arguments", name=argument, optimizer=name, names=", ".join(known)
            )
        elif not _fits(known[argument], value):
            place = f"optimizer.arguments ({argument})"
            yield Problem("wrong_value", field=place, value=repr(value), expected=_expected(known[argument]))


def _expected(kind: str) -> str:
    if kind == NUMBER:
        return say("kind.float")
    if kind == SWITCH:
        return say("kind.bool")
    return say("argument.two") if kind == TWO else say("argument.three")


def _fits(kind: str, value: Any) -> bool:
    if kind == SWITCH:
        return isinstance(value, bool)
    if kind == NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool)
    count = 2 if kind == TWO else 3
    return isinstance(value, tuple) and len(value) == count and all(_fits(NUMBER, number) for number in value)
