"""Which LoRAs a run saves on the way, how long they are kept, and how much room all that takes.

The names are sd-scripts': `<name>-000002.safetensors` after the second epoch, `<name>-step00000200.safetensors` after
the 200th step, `<name>.safetensors` at the end.

>>> [file.name for file in planned_loras(plan)]
['mofu-000001.safetensors', 'mofu-000002.safetensors']
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby

from tehon.planning.plan import Plan
from tehon.planning.trained import bytes_kept, bytes_remembered, bytes_trained, numbers_trained, tensors_in_state

_BYTES = {"float": 4, "fp16": 2, "bf16": 2}
_SAID, _SAID_OF_LAYER = 8192, 384
_SAID_IN_STATE, _SAID_OF_TENSOR = 16384, 250  # what a state says of the run, and of each tensor in it


@dataclass(frozen=True)
class PlannedLora:
    """A LoRA that is saved on the way after an update."""

    step: int
    name: str


def final_name(name: str) -> str:
    return f"{name}.safetensors"


def epoch_name(name: str, epoch: int) -> str:
    """`epoch` counts from 1."""
    return f"{name}-{epoch:06d}.safetensors"


def step_name(name: str, step: int) -> str:
    return f"{name}-step{step:08d}.safetensors"


def last_good_name(name: str, step: int) -> str:
    """The LoRA that is left of a run whose loss was no number any more; no name of a LoRA on the way."""
    return f"{name}-last-good-step{step:08d}.safetensors"


def is_name_of(name: str, file: str) -> bool:
    """Whether a file is named as one of the LoRAs of a run with this name."""
    return re.fullmatch(rf"{re.escape(name)}(-\d{{6}}|-step\d{{8}})?\.safetensors", file) is not None


def numbers_of(name: str, files: Iterable[str]) -> tuple[dict[int, str], dict[int, str]]:
    """({epoch: file}, {step: file}) of those that were saved on the way."""
    epochs: dict[int, str] = {}
    steps: dict[int, str] = {}
    for file in files:
        if match := re.fullmatch(rf"{re.escape(name)}-(step)?(\d{{6}}|\d{{8}})\.safetensors", file):
            (steps if match[1] else epochs)[int(match[2])] = file
    return epochs, steps


def lora_names(plan: Plan, step: int) -> list[str]:
    """The files that are due after an update; none after the last one, whose LoRA is the finished one."""
    output = plan.settings.output
    if not 0 < step < plan.steps:
        return []
    found: list[str] = []
    epoch, rest = divmod(step, plan.steps_per_epoch)
    if output.save_every_n_epochs and not rest and epoch % output.save_every_n_epochs == 0:
        found.append(epoch_name(output.name, epoch))
    if output.save_every_n_steps and step % output.save_every_n_steps == 0:
        found.append(step_name(output.name, step))
    return found


def planned_loras(plan: Plan) -> Iterator[PlannedLora]:
    """All that are saved on the way, those too that are removed again; there may be too many for a list."""
    for step, _ in groupby(merge(*(range(every, plan.steps, every) for every in _periods(plan)))):
        yield from (PlannedLora(step, name) for name in lora_names(plan, step))


def count_loras(plan: Plan) -> int:
    """How many `planned_loras` gives."""
    return sum((plan.steps - 1) // every for every in _periods(plan))


def _periods(plan: Plan) -> list[int]:
    """After every how many steps a LoRA is saved: by epochs, by steps."""
    output = plan.settings.output
    return [n for n in (output.save_every_n_epochs * plan.steps_per_epoch, output.save_every_n_steps) if n]


def outdated_steps(steps: Iterable[int], now: int, every: int, last: int) -> list[int]:
    """Of files saved every so many steps, those that go when the one of step `now` is there: older than the last `last`
    steps. A file of a step between, which somebody asked for, stays."""
    return [step for step in steps if last and step < now - last and step % every == 0]


def outdated_epochs(epochs: Iterable[int], now: int, every: int, last: int) -> list[int]:
    """Of files saved every so many epochs, those that go when the one of epoch `now` is there: all but `last` files."""
    return [epoch for epoch in epochs if last and epoch <= now - every * last and epoch % every == 0]


def outdated_states(steps: Iterable[int], count: int, last: int) -> list[int]:
    """Of saved states, those that go: all but the newest `count` and those that are no older than the newest by `last`
    steps. 0 is no such rule; without any, and of the newest one, nothing goes."""
    newest_first = sorted(steps, reverse=True)
    beyond = newest_first[max(1, count) :] if count or last else []
    return [step for step in beyond if step < newest_first[0] - last]


def bytes_of_lora(plan: Plan) -> int:
    """About: the numbers, and what the file says of itself and of each layer's tensors."""
    numbers = sum(module.parameters for module in plan.modules) * _BYTES[plan.settings.output.save_precision]
    return numbers + _SAID + _SAID_OF_LAYER * len(plan.modules)


def bytes_of_state(plan: Plan) -> int:
    """About: the weights, their average where one is made, and what the optimizer remembers of them, which for a class
    from elsewhere is its own affair."""
    average = 4 * numbers_trained(plan) if plan.settings.training.ema_decay else 0
    said = _SAID_IN_STATE + _SAID_OF_TENSOR * tensors_in_state(plan)
    return bytes_trained(plan) + average + bytes_remembered(plan) + bytes_kept(plan) + said


def bytes_needed(plan: Plan) -> int:
    """About the room that the run takes on the disk at most: its LoRAs, its states, and the one being written."""
    return (_most_loras(plan) + 1) * bytes_of_lora(plan) + (_most_states(plan) + 1) * bytes_of_state(plan)


def _most_loras(plan: Plan) -> int:
    output = plan.settings.output
    by_epochs = by_steps = 0
    if output.save_every_n_epochs:
        by_epochs = (plan.steps - 1) // (output.save_every_n_epochs * plan.steps_per_epoch)
        by_epochs = min(by_epochs, output.save_last_n_epochs or by_epochs)
    if output.save_every_n_steps:
        by_steps = (plan.steps - 1) // output.save_every_n_steps
        if output.save_last_n_steps:
            by_steps = min(by_steps, output.save_last_n_steps // output.save_every_n_steps + 1)
    return by_epochs + by_steps


def _most_states(plan: Plan) -> int:
    output = plan.settings.output
    count = output.save_last_n_states or 0
    if count and not output.save_last_n_steps_state:
        return count
    found = 1
    for every in (output.save_state_every_n_steps, output.save_state_every_n_epochs * plan.steps_per_epoch):
        span = min(plan.steps, output.save_last_n_steps_state or plan.steps)
        found += span // every if every else 0
    return max(count, found)
