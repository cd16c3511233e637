"""One flat buffer for all trainable weights and one for their gradients; the adapters' tensors become views of them.

Clipping, the optimizer's step, saving and summing gradients over machines then touch one tensor each instead of
hundreds.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """`weights` and `gradients` are vectors, float32 unless asked otherwise. An optimizer is given `groups`, one vector
    each, or `members`, the views that make up each group."""

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], dtype: torch.dtype = torch.float32) -> None:
        """Moves every parameter's values into the flat buffer, group after group."""
        everything = [parameter for members in groups.values() for parameter in members]
        device = everything[0].device
        total = sum(parameter.numel() for parameter in everything)
        self.weights = torch.empty(total, dtype=dtype, device=device)
        self.gradients = torch.zeros(total, dtype=dtype, device=device)
        self.members = groups
        self.groups: dict[str, nn.Parameter] = {}
        self.frozen: list[slice] = []
        start = 0
        for name, members in groups.items():
            first = start
            for parameter in members:
                start = self._adopt(parameter, start)
            group = nn.Parameter(self.weights[first:start])
            group.grad = self.gradients[first:start]
            self.groups[name] = group

    def _adopt(self, parameter: nn.Parameter, start: int) -> int:
        end = start + parameter.numel()
        view = self.weights[start:end].view(parameter.shape)
        view.copy_(parameter.detach())
        parameter.data = view
        parameter.grad = self.gradients[start:end].view(parameter.shape)
        return end

    def freeze(self, weights: Mapping[str, Tensor]) -> None:
        """Gives groups their last weights. No gradient is computed for them from now on; theirs stays zero. Their
        stretches of the vectors are in `frozen`."""
        for name, values in weights.items():
            start = self.groups[name].storage_offset()
            self.frozen.append(slice(start, start + len(values)))
            self.groups[name].detach().copy_(values)
            for parameter in (self.groups[name], *self.members[name]):
                parameter.requires_grad_(False)

    def clip(self, longest: float) -> Tensor:
        """Shortens the gradient to the norm `longest`, if that is above 0; returns the norm it had, a scalar tensor."""
        norm = self.gradients.norm(dtype=torch.float32)
        if longest > 0:
            self.gradients.mul_((longest / (norm + 1e-6)).clamp(max=1.0))
        return norm
