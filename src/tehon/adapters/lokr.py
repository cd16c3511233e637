"""LoKr (LyCORIS, arXiv 2309.14859): dW = alpha / rank W1 ⊗ W2, the Kronecker product of a small and a large matrix.

(W1 ⊗ W2) x = W1 X W2ᵀ with x read as a matrix X, so neither the product nor a full multiplication is ever made:
channels are read as (i1, i2), W2 works on each of the i1 groups, W1 across them, where W2 is thinnest.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, base, kaiming, new_tensors, pointwise, run
from tehon.adapters.restraint import FREE, Restraint


class Lokr:
    """W1 is `lokr_w1` (o1, i1) or the product of `lokr_w1_a` and `lokr_w1_b`; W2 is `lokr_w2` (o2, i2, kernel) or the
    product of `lokr_w2_a` and `lokr_w2_b`, with `lokr_t2` (rank, rank, kernel) between them (Tucker). `scalar` (1,) is
    a trained factor."""

    def __init__(self, layer: Layer, shapes: Shapes, alpha: float, restraint: Restraint = FREE) -> None:
        self.layer = layer
        self.alpha = alpha
        self.multiplier = 1.0
        self.restraint = restraint
        self.tensors = new_tensors(layer, shapes)
        self.kernel = layer.weight.shape[2:]

    @property
    def scale(self) -> float | Tensor:
        """Without a rank to divide by, the strength is 1; so do A1111 and ComfyUI read such files."""
        thin = self.tensors.get("lokr_w2_b", self.tensors.get("lokr_w1_b"))
        scale = self.multiplier * (1.0 if thin is None else self.alpha / thin.shape[0])
        return scale * self.tensors["scalar"] if "scalar" in self.tensors else scale

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """LyCORIS' start: Kaiming-uniform, with zero for the scalar, else for W2 or its second factor."""
        for tensor in self.tensors.values():
            kaiming(tensor, generator)
        self.tensors[next(name for name in ("scalar", "lokr_w2", "lokr_w2_b") if name in self.tensors)].zero_()

    def constants(self) -> dict[str, Tensor]:
        return {"alpha": torch.tensor(float(self.alpha))}

    def factors(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.tensors.values())

    def _small(self) -> Tensor:
        t = self.tensors
        return t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]

    def _large(self) -> Tensor:
        """(o2, i2, *kernel)."""
        t = self.tensors
        if "lokr_w2" in t:
            return t["lokr_w2"]
        if "lokr_t2" in t:
            return torch.einsum("ijkl,jn,io->onkl", t["lokr_t2"], t["lokr_w2_b"], t["lokr_w2_a"])
        return (t["lokr_w2_a"] @ t["lokr_w2_b"]).unflatten(1, (-1, *self.kernel))

    def delta(self) -> Tensor:
        small, large = self._small(), self._large()
        product = small.view(len(small), 1, -1, 1, *(1 for _ in self.kernel)) * large[None, :, None]
        return self.scale * product.reshape(self.layer.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        return base(self.layer, x) + self.restraint.whole(self._change(x))

    def _change(self, x: Tensor) -> Tensor:
        small = (self._small() * self.scale).to(x.dtype)
        t = {name: tensor.to(x.dtype) for name, tensor in self.tensors.items()}
        if isinstance(self.layer, nn.Linear):
            return self._on_features(x, small, t)
        return self._on_channels(x, small, t)

    def _on_features(self, x: Tensor, small: Tensor, t: dict[str, Tensor]) -> Tensor:
        """(..., i1 i2) to (..., o1 o2)."""
        x = x.unflatten(-1, (small.shape[1], -1))
        if "lokr_w2" in t:
            y = torch.einsum("ac,...cr->...ar", small, F.linear(x, t["lokr_w2"]))
        else:
            narrow = self.restraint.narrow(F.linear(x, t["lokr_w2_b"]), -1)
            y = F.linear(torch.einsum("ac,...cr->...ar", small, narrow), t["lokr_w2_a"])
        return y.flatten(-2)

    def _on_channels(self, x: Tensor, small: Tensor, t: dict[str, Tensor]) -> Tensor:
        """(n, i1 i2, h, w) to (n, o1 o2, h', w'); W2 takes the groups of all samples as one batch."""
        count, (o1, i1) = len(x), small.shape
        x = x.unflatten(1, (i1, -1)).flatten(0, 1)
        if "lokr_w2" in t:
            h = run(self.layer, x, t["lokr_w2"])
        elif "lokr_t2" in t:
            h = run(self.layer, pointwise(self.layer, x, t["lokr_w2_b"]), t["lokr_t2"])
        else:
            h = run(self.layer, x, t["lokr_w2_b"].unflatten(1, (-1, *self.kernel)))
        h = h.unflatten(0, (count, i1))
        if "lokr_w2" not in t:
            h = self.restraint.narrow(h, 2)
        h = torch.einsum("ac,nc...->na...", small, h)
        if "lokr_w2" not in t:
            up = t["lokr_w2_a"].T if "lokr_t2" in t else t["lokr_w2_a"]
            h = pointwise(self.layer, h.flatten(0, 1), up).unflatten(0, (count, o1))
        return h.flatten(1, 2)
