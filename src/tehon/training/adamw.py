"""AdamW on flat parameter groups, by PyTorch's kernel that does all of it in one pass.

It is ours because on flat buffers it is one call, and because torch's optimizer class loads the compiler at its first
use, which takes longer than the first fifty steps of a small model.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_PIECE = 2**18


class AdamW:
    """AdamW (arXiv 1711.05101, algorithm 2), bit for bit torch's fused one; each group holds one parameter. Its memory
    is float32 for weights of 16 bits too, where `eps` and most squares would be zero."""

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        slow, slower = betas
        if not (0 <= slow < 1 and 0 <= slower < 1 and eps >= 0 and weight_decay >= 0):
            raise ValueError("betas lie from 0 to below 1, eps and weight_decay are not negative")
        self.betas = betas
        self.epsilon = eps
        self.steps = 0
        self.param_groups: list[dict[str, Any]] = [
            {"lr": lr, "weight_decay": weight_decay, **group} for group in groups
        ]
        parameters: list[nn.Parameter] = [group["params"][0] for group in groups]
        self.state = {one: (_wide_zeros(one), _wide_zeros(one)) for one in parameters}

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        for group in self.param_groups:
            self._move(group, *self.state[group["params"][0]])

    def _move(self, group: dict[str, Any], first: Tensor, second: Tensor) -> None:
        weights, rate = group["params"][0], group["lr"]
        gradient = weights.grad
        assert gradient is not None, "flat groups always have their gradients"
        if weights.dtype == torch.float32:
            self._move_at_once(group, gradient, first, second)
            return
        slow, slower = self.betas
        for some, pull, mean, square in _pieces(weights, gradient, first, second):
            pull = pull.float()
            some.mul_(1 - rate * group["weight_decay"])
            mean.lerp_(pull, 1 - slow)
            square.mul_(slower).addcmul_(pull, pull, value=1 - slower)
            spread = square.sqrt().div_((1 - slower**self.steps) ** 0.5).add_(self.epsilon)
            some.addcdiv_(mean, spread, value=-rate / (1 - slow**self.steps))

    def _move_at_once(self, group: dict[str, Any], gradient: Tensor, first: Tensor, second: Tensor) -> None:
        weights = group["params"][0]
        count = torch.full((), float(self.steps), device=weights.device)
        slow, slower = self.betas
        fused: Any = torch._fused_adamw_  # pyright: ignore[reportPrivateUsage]
        rates = {"lr": group["lr"], "weight_decay": group["weight_decay"], "beta1": slow, "beta2": slower}
        others = {"eps": self.epsilon, "amsgrad": False, "maximize": False}
        fused([weights], [gradient], [first], [second], [], [count], **rates, **others)

    def state_dict(self) -> dict[str, Any]:
        names = [{"name": group.get("name")} for group in self.param_groups]
        first, second = zip(*self._memory(), strict=True)
        return {"steps": self.steps, "first": list(first), "second": list(second), "param_groups": names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = int(state_dict["steps"])
        for own, *saved in zip(self._memory(), state_dict["first"], state_dict["second"], strict=True):
            for mine, theirs in zip(own, saved, strict=True):
                mine.copy_(theirs)

    def _memory(self) -> list[tuple[Tensor, Tensor]]:
        """The means of each group, in order."""
        return [self.state[group["params"][0]] for group in self.param_groups]


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The flat tensors side by side, on a CPU so many numbers at a time as its caches hold."""
    most = _PIECE if tensors[0].device.type == "cpu" else max(1, len(tensors[0]))
    return zip(*(tensor.split(most) for tensor in tensors), strict=True)


def _wide_zeros(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter, dtype=torch.float32, requires_grad=False)
