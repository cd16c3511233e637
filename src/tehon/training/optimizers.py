"""Optimizers over the flat parameter groups.

AdamW is ours: on flat buffers it is a dozen operations, without the lists that torch's class keeps for many tensors.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Optimizer(Protocol):
    """What the loop and the saved states need of an optimizer; torch's own optimizers fit."""

    param_groups: list[dict[str, Any]]
    """Each has a `name` and its rate, `lr`."""

    def step(self) -> Any:
        """Moves the weights by their gradients."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class AdamW:
    """AdamW (arXiv 1711.05101, algorithm 2), bit for bit torch's own; one parameter group a part, named for it.

    `weight_decay` is {name of a group: its decay}.
    """

    betas = (0.9, 0.999)
    epsilon = 1e-8

    def __init__(self, groups: Mapping[str, nn.Parameter], weight_decay: Mapping[str, float]) -> None:
        self.steps = 0
        self.param_groups: list[dict[str, Any]] = [
            {"params": [parameter], "name": name, "lr": 0.0, "weight_decay": weight_decay[name]}
            for name, parameter in groups.items()
        ]
        self._first = [torch.zeros_like(parameter) for parameter in groups.values()]
        self._second = [torch.zeros_like(parameter) for parameter in groups.values()]

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        for group, first, second in zip(self.param_groups, self._first, self._second, strict=True):
            self._move(group, first, second)

    def _move(self, group: dict[str, Any], first: Tensor, second: Tensor) -> None:
        weights, rate = group["params"][0], group["lr"]
        gradient = weights.grad
        assert gradient is not None, "flat groups always have their gradients"
        slow, slower = self.betas
        weights.mul_(1 - rate * group["weight_decay"])
        first.lerp_(gradient, 1 - slow)
        second.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
        spread = (second.sqrt() / (1 - slower**self.steps) ** 0.5).add_(self.epsilon)
        weights.addcdiv_(first, spread, value=-rate / (1 - slow**self.steps))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "first": self._first, "second": self._second}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = int(state_dict["steps"])
        for own, saved in zip(self._first + self._second, state_dict["first"] + state_dict["second"], strict=True):
            own.copy_(saved)
