"""What goes through the ranks of a LoRA while it learns.

With h = x Aᵀ, what reaches the ranks, and dh = g B, what comes back to them, hᵀh and dhᵀdh tell how much the output,
and with it the loss, would change without a rank. They are for a change B A what the second moments of inputs and of
gradients of outputs are for a weight in K-FAC (arXiv 1503.05671), for two products as small as the rank.
"""

from typing import Any

import torch
from torch import Tensor


class Flow:
    """`sums` (2, rank, rank) holds hᵀh and dhᵀdh of the updates that were made; each batch counts alike, whatever its
    loss was multiplied by. `pending` holds those of the update that is being made."""

    def __init__(self, rank: int, device: torch.device) -> None:
        self.sums = torch.zeros(2, rank, rank, device=device)
        self.pending = torch.zeros_like(self.sums)

    @torch.no_grad()
    def add(self, h: Tensor, dh: Tensor) -> None:
        """Takes a batch's h and dh, (..., rank), in. What is zero, or overflowed as fp16's gradients may, counts for
        nothing."""
        for total, flow in zip(self.pending, (h, dh), strict=True):
            rows = flow.reshape(-1, flow.shape[-1]).float()
            square = rows.t() @ rows
            total.add_((square / square.trace()).nan_to_num_(0.0, 0.0, 0.0))

    def settle(self, made: bool) -> None:
        """After an update: what was pending is seen, or let go when no update was made of its gradients."""
        if made:
            self.sums.add_(self.pending)
        self.pending.zero_()

    def fade(self) -> None:
        """From now on all that was seen counts half."""
        self.sums.mul_(0.5)

    def watched(self, h: Tensor, onward: Tensor) -> Tensor:
        """`onward`, what was made of h and goes on to B: when its gradient, dh, comes back, both are taken in."""
        return _Watched.apply(onward, h, self)  # pyright: ignore[reportReturnType]


class _Watched(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, onward: Tensor, h: Tensor, flow: Flow) -> Tensor:
        ctx.save_for_backward(h)
        ctx.flow = flow
        return onward.view_as(onward)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        ctx.flow.add(*ctx.saved_tensors, *grad_outputs)
        return grad_outputs[0], None, None
