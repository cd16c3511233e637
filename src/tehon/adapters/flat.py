"""One flat buffer for all trainable weights and one for their gradients; the adapters' tensors become views of them.

Clipping, the optimizer's step, saving and summing gradients over machines then touch one tensor each instead of
hundreds.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Narrow:
    """Copies of all weights in the 16 bits in which the network computes, and gradients in 16 bits, so that neither is
    cast tensor by tensor. They are true while they are `active`."""

    def __init__(self, flat: "FlatParameters", dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.active = False
        self.weights = torch.zeros_like(flat.weights, dtype=dtype)
        self.gradients = torch.zeros_like(self.weights)
        self.views: dict[nn.Parameter, tuple[Tensor, Tensor]] = {}
        """{parameter: its weights, its gradients}."""
        self.followers: list[tuple[int, Tensor]] = []
        """Matrices that are brought up to what begins there in `weights` (`tehon.adapters.bordered`)."""
        self.table: Tensor | None = None
        for members in flat.members.values():
            for parameter in members:
                place = slice(parameter.storage_offset(), parameter.storage_offset() + parameter.numel())
                shaped = [vector[place].view(parameter.shape) for vector in (self.weights, self.gradients)]
                self.views[parameter] = shaped[0], shaped[1]

    def follow(self, parameter: nn.Parameter, matrix: Tensor) -> None:
        """Lets a matrix have the parameter's weights, from now on."""
        weights, _ = self.views[parameter]
        matrix.copy_(weights.flatten(1))
        self.followers.append((int(weights.storage_offset()), matrix))
        self.table = None


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
        self.narrow: Narrow | None = None
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

    def compute_in(self, dtype: torch.dtype) -> None:
        """Keeps copies in the type in which the network computes, where that is another one and on a graphics card."""
        if dtype != self.weights.dtype and self.weights.device.type == "cuda":
            self.narrow = Narrow(self, dtype)

    def clip(self, longest: float) -> Tensor:
        """Shortens the gradient to the norm `longest`, if that is above 0; returns the norm it had, a scalar tensor."""
        norm = self.gradients.norm(dtype=torch.float32)
        if longest > 0:
            self.gradients.mul_((longest / (norm + 1e-6)).clamp(max=1.0))
        return norm
