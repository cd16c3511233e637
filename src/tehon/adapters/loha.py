"""LoHa (FedPara, arXiv 2108.06098; LyCORIS, arXiv 2309.14859): dW = alpha / rank (W1a W1b) * (W2a W2b), * elementwise.

The product of two rank-r matrices, number by number, reaches rank r². It is no chain of thin matrices, so the change
itself is built at each step; what it is built of is computed again in the backward instead of being kept.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, base, gaussian, new_tensors, run
from tehon.adapters.restraint import FREE, Restraint


class Loha:
    """Two products of shape (out, in times the kernel's size); with `hada_t1` and `hada_t2` (Tucker) those are built of
    a (rank, rank, kh, kw) core, a (rank, out) and a (rank, in) matrix each. `scalar` (1,) is a trained factor."""

    def __init__(self, layer: Layer, shapes: Shapes, alpha: float, restraint: Restraint = FREE) -> None:
        self.layer = layer
        self.alpha = alpha
        self.multiplier = 1.0
        self.restraint = restraint
        self.tensors = new_tensors(layer, shapes)
        self.tucker = "hada_t1" in shapes
        self.shape = layer.weight.shape
        plain = isinstance(layer.weight, nn.Parameter)  # not unpacked anew each time that it is asked for
        self.sums = plain and layer.weight.dtype == torch.float32

    @property
    def rank(self) -> int:
        return self.tensors["hada_w1_b"].shape[0]

    @property
    def scale(self) -> float | Tensor:
        scale = self.multiplier * self.alpha / self.rank
        return scale * self.tensors["scalar"] if "scalar" in self.tensors else scale

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """LyCORIS' start: N(0, 1) for the b, N(0, 0.1²) for the a and cores; zero for the scalar, else for W2a."""
        for name, tensor in self.tensors.items():
            gaussian(tensor, generator, 1.0 if name.endswith("_b") else 0.1)
        self.tensors["scalar" if "scalar" in self.tensors else "hada_w2_a"].zero_()

    def constants(self) -> dict[str, Tensor]:
        return {"alpha": torch.tensor(float(self.alpha))}

    def factors(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.tensors.values())

    def delta(self) -> Tensor:
        t = self.tensors
        kept = self.restraint.ranks(self.rank, t["hada_w1_b"].device)
        first = t["hada_w1_b"] if kept is None else t["hada_w1_b"] * kept[:, None]
        if self.tucker:
            one = torch.einsum("ijkl,jn,io->onkl", t["hada_t1"], first, t["hada_w1_a"])
            two = torch.einsum("ijkl,jn,io->onkl", t["hada_t2"], t["hada_w2_b"], t["hada_w2_a"])
            change = one * two
        else:
            change = _Hadamard.apply(t["hada_w1_a"], first, t["hada_w2_a"], t["hada_w2_b"])
        return self.scale * change.view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Where the layer has its weight in float32, one pass with the sum of both; else two, as a small change would
        be lost in the sum."""
        layer, change = self.layer, self.delta()
        if self.sums and not self.restraint.whole_may_go:
            return run(layer, x, layer.weight + change, layer.bias)
        return base(layer, x) + self.restraint.whole(run(layer, x, change.to(x.dtype)))


class _Hadamard(torch.autograd.Function):
    """(a b) * (c d), elementwise, keeping only the four."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, c, d)
        return (a @ b) * (c @ d)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (gradient,) = grad_outputs
        a, b, c, d = ctx.saved_tensors
        first = gradient * (c @ d)
        second = gradient * (a @ b)
        return first @ b.T, a.T @ first, second @ d.T, c.T @ second
