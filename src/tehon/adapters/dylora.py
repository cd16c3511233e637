"""DyLoRA (arXiv 2210.07558): a LoRA of which every rank up to the full one can be cut out afterwards.

A rank b is drawn for an update, one for all layers, as all will be cut alike, and each layer computes with its first b
ranks alone (the paper's W↓b, equations 5 to 7). sd-scripts multiplies with all ranks whatever it draws.

Which ranks are the first is not left to chance here. The product B A is the same for B F and F⁻¹ A with any F. After
each tenth of a training F is set so that the first b ranks are the best b of that moment, those without which most
would be missing: half by the matrices themselves, which alone would be the singular value decomposition, half by what
flows through them (`tehon.adapters.flow`). B and A stay as they are: every number learns at every step, whichever rank
is drawn, and the optimizer notices nothing.

Ranks are drawn in the ninth tenth, for every fourth update; all others use all ranks. Earlier or oftener, a small rank
leads the others astray; and in the last tenth all of them find together again.

A file holds the ranks in their order, so that its first b ranks, with the same factor alpha / rank, are the cut at b;
see `tehon.surgery.cut`.
"""

import math

import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Layer, Shapes, base, pointwise, run
from tehon.adapters.flow import Flow
from tehon.adapters.fused import Branch
from tehon.adapters.lora import Lora
from tehon.adapters.restraint import FREE, Restraint

_DRAWN = 8, 9  # tenths of a training
_EVERY = 4  # updates there
_GOLDEN = (math.sqrt(5) - 1) / 2  # the fractions of its multiples are spread evenly, however many there are
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
        self.flow = Flow(self.rank, layer.weight.device)

    @property
    def learning(self) -> bool:
        """Whether this is an update, and no look at what was learned, and there are ranks to put into an order."""
        return self.unit < self.rank and self.restraint.chance is not None and self.restraint.chance.drawing

    def drawn_rank(self) -> int:
        """The ranks in use: drawn for this update, or all, as outside of training and before ranks are drawn."""
        chance = self.restraint.chance
        if chance is None or not chance.drawing:
            return self.rank
        return math.ceil(chance.moment.share * (self.rank // self.unit)) * self.unit

    @torch.no_grad()
    def sort(self) -> None:
        """Puts the ranks into their order; those drawn from now on are the first of these. What was seen fades."""
        order = self._ordered()
        if order is not None:
            self.order.copy_(order)
        self.flow.fade()

    @torch.no_grad()
    def constants(self) -> dict[str, Tensor]:
        """In a file the ranks are in their order; a down row is as long as its up column, but for the weakest, whose up
        columns are shorter."""
        order = self._ordered()
        if self.unit == self.rank or order is None:
            return super().constants()
        into, back = order.to(self.down.device)
        down, up = back @ self.down.float().flatten(1), self.up.float().flatten(1) @ into
        lengths = down.norm(dim=1)
        lengths = lengths.clamp(min=float(lengths.max()) * _RIDGE)
        strengths = lengths * up.norm(dim=0)
        ratios = strengths.clamp(min=float(strengths.max()) * _WEAKEST).sqrt() / lengths
        return super().constants() | {
            "lora_down.weight": (down * ratios[:, None]).view(self.down.shape),
            "lora_up.weight": (up / ratios).view(self.up.shape),
        }

    def branch(self, x: Tensor) -> Branch | None:
        branch = super().branch(x) if self.drawn_rank() == self.rank else None
        if branch is not None:
            branch.flow = self.flow if self.learning else None
        return branch

    def plain(self, x: Tensor) -> Tensor:
        if not self.learning:
            return super().plain(x)
        used = self.drawn_rank()
        into, back = self.order.to(x.dtype)
        channel = -1 if isinstance(self.layer, nn.Linear) else 1
        narrow = run(self.layer, x, self.down.to(x.dtype))
        h = narrow if used == self.rank else pointwise(self.layer, narrow, back[:used])
        h = self.restraint.narrow(h, channel)
        h = h if used == self.rank else pointwise(self.layer, h, into[:, :used])
        h = self.flow.watched(narrow.movedim(channel, -1), h.movedim(channel, -1)).movedim(-1, channel)
        up = (self.up * self.scale).to(x.dtype)
        return base(self.layer, x) + self.restraint.whole(pointwise(self.layer, h, up))

    def _ordered(self) -> Tensor | None:
        down, up = self.down.flatten(1).cpu().double(), self.up.flatten(1).cpu().double()
        reaching, returning = self.flow.sums.cpu().double()
        return ordered(_both(down @ down.T, reaching), _both(up.T @ up, returning))


def _both(own: Tensor, seen: Tensor) -> Tensor:
    """Half of each; all `own` while nothing was seen."""
    return own / own.trace() + seen / seen.trace() if seen.trace() > 0 else own


@torch.no_grad()
def ordered(inner: Tensor, outer: Tensor) -> Tensor | None:
    """F and its inverse (2, rank, rank), float32, of float64 matrices (rank, rank) that say how much goes into ranks
    and how much comes out of them; None where that is nothing, or not finite.

    With inner = L Lᵀ and Lᵀ outer L = W S² Wᵀ, F = L W: then F⁻¹ inner F⁻¹ᵀ is 1 and Fᵀ outer F is S², largest first.
    Where inner = A Aᵀ and outer = Bᵀ B, these are the singular values of B A.
    """
    if not (inner.isfinite().all() and outer.isfinite().all() and inner.trace() > 0 and outer.trace() > 0):
        return None
    values, vectors = torch.linalg.eigh(inner)
    roots = values.clamp(min=float(values[-1]) * _RIDGE).sqrt()
    lower = vectors * roots
    _, turn = torch.linalg.eigh(lower.T @ outer @ lower)
    turn = turn.flip(1)
    return torch.stack([lower @ turn, turn.T @ (vectors / roots).T]).float()


def share_used(step: int, steps: int) -> float:
    """The share of the ranks, in (0, 1], that an update, counted from 0, of a training of so many uses."""
    first, end = (steps * tenths // 10 for tenths in _DRAWN)
    if not first <= step < end or (step - first) % _EVERY:
        return 1.0
    return ((step - first) // _EVERY + 0.5) * _GOLDEN % 1.0


def sorts_after(step: int, steps: int) -> bool:
    """Whether ranks are put into their order after this many updates of a training: after each tenth, so that those
    which draw have one even if the training was to be longer before."""
    return any(step == steps * tenths // 10 for tenths in range(1, 10))
