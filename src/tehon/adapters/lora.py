"""LoRA (arXiv 2106.09685) for Linear and Conv2d: W' = W + multiplier * alpha / rank * B A.

On larger kernels it is LoCon: A keeps the layer's kernel and stride, B is 1x1. With a middle tensor (Tucker, arXiv
1511.06530) A is 1x1 too, and a rank x rank kernel lies between. With A frozen it is LoRA-FA (arXiv 2308.03303).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, attached, base, gaussian, kaiming, new_tensors, pointwise, run
from tehon.adapters.flat import Narrow
from tehon.adapters.fused import Branch, fused, fusible
from tehon.adapters.restraint import FREE, Restraint


class Lora:
    """A low-rank change. `down` is A, (rank, in) or (rank, in, kh, kw); `up` is B, (out, rank) or (out, rank, 1, 1);
    `mid` (rank, rank, kh, kw) or None. `scalar` (1,) or None is a trained factor, which then is what starts at zero."""

    def __init__(
        self,
        layer: Layer,
        shapes: Shapes,
        alpha: float,
        restraint: Restraint = FREE,
        *,
        init: str = "kaiming",
        frozen_down: bool = False,
    ) -> None:
        self.layer = layer
        self.alpha = alpha
        self.multiplier = 1.0
        self.restraint = restraint
        self.init = init
        self.tensors = new_tensors(layer, shapes)
        self.down, self.up = self.tensors["lora_down.weight"], self.tensors["lora_up.weight"]
        self.mid = self.tensors.get("lora_mid.weight")
        self.scalar = self.tensors.get("scalar")
        self.down.requires_grad_(not frozen_down)
        self.narrow: Narrow | None = None
        """Where its tensors lie in the number type of the layer too."""
        self._branches: dict[bool, Branch] = {}

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float | Tensor:
        scale = self.plain_scale
        return scale if self.scalar is None else scale * self.scalar

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """A Kaiming-uniform as in kohya and peft, or normal with the deviation 1 / rank as in diffusers; B zero. With a
        trained scalar B is Kaiming-uniform too, as in LyCORIS."""
        if self.init == "gaussian":
            gaussian(self.down, generator, 1 / self.rank)
        else:
            kaiming(self.down, generator)
        if self.mid is not None:
            kaiming(self.mid, generator)
        if self.scalar is None:
            self.up.zero_()
        else:
            kaiming(self.up, generator)
            self.scalar.zero_()

    def constants(self) -> dict[str, Tensor]:
        return {"alpha": torch.tensor(float(self.alpha))}

    def factors(self) -> tuple[nn.Parameter, ...]:
        every = (self.up, self.mid, self.down, self.scalar)
        return tuple(tensor for tensor in every if tensor is not None and tensor.requires_grad)

    def delta(self) -> Tensor:
        return self.scale * product(self.down, self.mid, self.up).view(self.layer.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        return self.plain(x) if branch is None else fused(x, (branch,), (self.plain_scale,))[0]

    @property
    def plain_scale(self) -> float:
        """The change's factor but for a trained one."""
        return self.multiplier * self.alpha / self.rank

    def branch(self, x: Tensor) -> Branch | None:
        """What `fused` needs to compute with this input; None where only `plain` can, as where nothing is derived:
        there a change of zero has to leave every bit of the layer's own output."""
        layer = self.layer
        if not torch.is_grad_enabled():
            return None
        if self.mid is not None or self.scalar is not None or not self.restraint.idle or not fusible(layer):
            return None
        if x.dtype != layer.weight.dtype:
            return None
        if isinstance(layer, nn.Conv2d) and x.device.type != "cpu" and not x.permute(0, 2, 3, 1).is_contiguous():
            return None
        narrow = self.narrow if self.narrow is not None and self.narrow.active else None
        return self._branch(None if narrow is None or x.dtype != narrow.dtype else narrow)

    def compute_narrow(self, narrow: Narrow | None) -> None:
        """Lets copies of the tensors be used where they are true, in the number type of the layer."""
        self.narrow = narrow
        if narrow is not None and fusible(self.layer) and self.mid is None and self.scalar is None:
            self._branch(narrow)  # which may move the layer's weight, before anybody has noted where it lies

    def _branch(self, narrow: Narrow | None) -> Branch:
        if not self.up.requires_grad:
            narrow = None
        branch = self._branches.get(narrow is not None)
        if branch is None or not branch.holds:
            branch = self._branches[narrow is not None] = Branch(self.layer, self.down, self.up, narrow)
        return branch

    def plain(self, x: Tensor) -> Tensor:
        """The same by operations that PyTorch differentiates."""
        return base(self.layer, x) + through(self.layer, x, self.down, self.mid, self.up * self.scale, self.restraint)


def joint(adapters: Sequence[Lora]) -> Callable[[Tensor], tuple[Tensor, ...] | None]:
    """The layers of several adapters as one function of the input that all of them read. It gives None when one of them
    is off its layer or needs its plain way."""

    def forward(x: Tensor) -> tuple[Tensor, ...] | None:
        branches = [adapter.branch(x) if attached(adapter) else None for adapter in adapters]
        whole = [branch for branch in branches if branch is not None]
        if len(whole) < len(adapters):
            return None
        return fused(x, whole, [adapter.plain_scale for adapter in adapters])

    return forward


def product(down: Tensor, mid: Tensor | None, up: Tensor) -> Tensor:
    """B A, or B M A with a middle tensor: (out, in times the kernel's size)."""
    if mid is None:
        return up.float().flatten(1) @ down.float().flatten(1)
    return torch.einsum("oi,ijkl,jn->onkl", up.float().flatten(1), mid.float(), down.float().flatten(1)).flatten(1)


def through(layer: Layer, x: Tensor, down: Tensor, mid: Tensor | None, up: Tensor, restraint: Restraint) -> Tensor:
    """The output of down and up, without ever building their product."""
    if mid is None:
        h = run(layer, x, down.to(x.dtype))
    else:
        h = run(layer, pointwise(layer, x, down.to(x.dtype)), mid.to(x.dtype))
    h = restraint.narrow(h, -1 if isinstance(layer, nn.Linear) else 1)
    return restraint.whole(pointwise(layer, h, up.to(x.dtype)))
