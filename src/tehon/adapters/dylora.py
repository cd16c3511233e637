"""DyLoRA (arXiv 2210.07558): a LoRA of which every rank up to the full one can be cut out afterwards.

At each step a rank b is drawn, one for all layers, as all will be cut alike, and each layer computes with its first b
ranks alone (the paper's W↓b, equations 5 to 7). sd-scripts multiplies with all ranks whatever it draws.

Which ranks are the first is not left to chance here. The product B A is the same for B F and F⁻¹ A with any F. From
time to time F is set so that B F and F⁻¹ A are B A's singular value decomposition, and the first b ranks are the best b
of that moment. For the first three tenths of a training, while there is little to sort, all ranks are used. B and A
themselves stay as they are: every number learns at every step, whichever rank is drawn, and the optimizer notices
nothing. Larger ranks are drawn more often than smaller ones: b is the largest of three draws.

A file holds the ranks in the order of their singular values, so that its first b ranks, with the same factor
alpha / rank, are the cut at b; see `tehon.surgery.cut`.
"""

import torch
from torch import Tensor

from tehon.adapters.adapter import Layer, Shapes, base
from tehon.adapters.fused import Branch
from tehon.adapters.lora import Lora, through
from tehon.adapters.restraint import FREE, Restraint

_SORTED_AFTER = range(3, 10)  # tenths of a training
_DRAWS = ("dylora", "dylora again", "dylora once more")
_RIDGE = 1e-6  # keeps F invertible where A has fewer dimensions than ranks
_WEAKEST = 1e-3  # share of the strongest rank that a weaker one counts as when a file's down rows get their lengths


class DyLora(Lora):
    """A LoRA, of which training uses as many ranks as are drawn: a multiple of `unit`. Everything else uses all.

    `order` (2, rank, rank) holds F and its inverse.
    """

    def __init__(
        self, layer: Layer, shapes: Shapes, alpha: float, restraint: Restraint = FREE, *, init: str, unit: int
    ) -> None:
        super().__init__(layer, shapes, alpha, restraint, init=init)
        assert self.rank % unit == 0, "the unit divides the rank"
        self.unit = unit
        self.order = torch.eye(self.rank, device=layer.weight.device).repeat(2, 1, 1)

    def drawn_rank(self) -> int:
        """The ranks in use: drawn for this update, or all outside of training and before they are sorted."""
        chance = self.restraint.chance
        if chance is None or not chance.drawing or chance.moment.whole:
            return self.rank
        largest = max(chance.number(purpose, self.rank // self.unit) for purpose in _DRAWS)
        return (largest + 1) * self.unit

    def sort(self) -> None:
        """Puts the ranks into the order of their singular values; those drawn from now on are the first of these."""
        order, _ = ordered(self.down, self.up)
        self.order.copy_(order)

    @torch.no_grad()
    def constants(self) -> dict[str, Tensor]:
        """In a file the ranks are sorted."""
        down, up = self.down.float(), self.up.float()
        (into, back), strengths = ordered(down, up)
        if self.unit == self.rank or not strengths.any():
            return super().constants()
        lengths = strengths.clamp(min=float(strengths.max()) * _WEAKEST).sqrt().to(down.device)
        sorted_down = (lengths[:, None] * (back.to(down.device) @ down.flatten(1))).view(down.shape)
        sorted_up = (up.flatten(1) @ into.to(up.device) / lengths).view(up.shape)
        return super().constants() | {"lora_down.weight": sorted_down, "lora_up.weight": sorted_up}

    def branch(self, x: Tensor) -> Branch | None:
        return super().branch(x) if self.drawn_rank() == self.rank else None

    def plain(self, x: Tensor) -> Tensor:
        used = self.drawn_rank()
        if used == self.rank:
            return super().plain(x)
        into, back = self.order.to(self.down.dtype)
        down = (back[:used] @ self.down.flatten(1)).view(used, *self.down.shape[1:])
        up = self.up.flatten(1) @ into[:, :used]
        return base(self.layer, x) + through(self.layer, x, down, None, up * self.scale, self.restraint)


@torch.no_grad()
def ordered(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """F and its inverse (2, rank, rank), and the singular values (rank,) of B A, largest first; float32 on the CPU.

    With A Aᵀ = L Lᵀ and Lᵀ Bᵀ B L = W S² Wᵀ, F = L W: then F⁻¹ A has orthonormal rows and B F orthogonal columns of the
    lengths S. Numbers that are not finite are left in their order.
    """
    a, b = down.flatten(1).cpu().double(), up.flatten(1).cpu().double()
    rank, identity = len(a), torch.eye(len(a), dtype=torch.float64)
    inner = a @ a.T
    inner = inner + identity * (inner.trace() * _RIDGE / rank)
    if not (inner.isfinite().all() and b.isfinite().all() and inner.trace() > 0):
        return identity.float().repeat(2, 1, 1), torch.zeros(rank)
    lower = torch.linalg.cholesky(inner)
    squares, turn = torch.linalg.eigh(lower.T @ (b.T @ b) @ lower)
    turn = turn.flip(1)
    inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
    return torch.stack([lower @ turn, turn.T @ inverse]).float(), squares.flip(0).clamp(min=0).sqrt().float()


def all_used(step: int, steps: int) -> bool:
    """Whether ranks are not drawn yet at an update, counted from 0, of a training of so many."""
    return step < -(-steps * _SORTED_AFTER[0] // 10)


def sorts_after(step: int, steps: int) -> bool:
    """Whether ranks are sorted after this many updates of a training."""
    return any(step == -(-steps * tenths // 10) for tenths in _SORTED_AFTER)
