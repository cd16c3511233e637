"""LoRA and its frozen layer as one operation, for one layer or for several that read the same input.

PyTorch's own derivative of x Wᵀ + s (x Aᵀ) Bᵀ takes five products apart, keeps s B and adds three tensors of the
input's size. Here what is added is added in place by the products themselves, and the gradients of A and B are written
where `FlatParameters` keeps them (the idea: RunLoRA, arXiv 2312.03415). Layers with the same input, as query, key and
value, share the product with their stacked A, and one tensor takes up the gradients of their input. On a CPU in float32
two loops do it for low ranks (`by_loops.py`), on a graphics card the borders of the weights (`bordered.py`).

>>> query, key, value = fused(x, [of_query, of_key, of_value], scales=[1.0, 1.0, 1.0])
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tehon.adapters import by_loops
from tehon.adapters.adapter import Layer
from tehon.adapters.beside import beside
from tehon.adapters.bordered import Border
from tehon.adapters.flat import Narrow
from tehon.adapters.flow import Flow
from tehon.again import Again, again_of
from tehon.machine.products import add_product, linear, times


class Branch:
    """A frozen layer and a low-rank change of it, as matrices: views that stay valid for as long as `holds`."""

    def __init__(self, layer: Layer, down: nn.Parameter, up: nn.Parameter, narrow: Narrow | None = None) -> None:
        """`layer` is Linear or a 1x1 Conv2d, `down` A, (rank, in) or (rank, in, 1, 1), and `up` B. With `narrow` their
        copies in it are computed with, and gradients are put there."""
        self.layer, self.parameters = layer, (down, up)
        self.border: Border | None = None
        self.flow: Flow | None = None
        """Who is told what goes through the ranks."""
        if narrow is not None and Border.possible(layer, narrow, down, up):
            self.border = Border(layer, down, up, narrow)
        self.weight, self.bias = layer.weight.detach().flatten(1), layer.bias
        places: Any = [narrow.views.get(one) if narrow else None for one in (down, up)]
        own = [
            (one.detach(), one.grad) if place is None else place for one, place in zip((down, up), places, strict=True)
        ]
        (down_weights, down_gradient), (up_weights, up_gradient) = own
        self.down, self.up = down_weights.flatten(1), up_weights.flatten(1)
        self.turned_down, self.turned_up = self.down.t(), self.up.t()
        self.looped = self.border is None and by_loops.suits(self.down, self.up)
        """Whether loops compute its change where they can read what it is given."""
        self._noted = [one.grad if place is None else None for one, place in zip((down, up), places, strict=True)]
        self.down_gradient, self.up_gradient = _matrix(down_gradient), _matrix(up_gradient)
        pairs = zip(self.parameters, (self.down_gradient, self.up_gradient), strict=True)
        self.heirs = [parameter for parameter, place in pairs if place is None]
        """Those whose gradients have no place yet."""
        self.anchor = up if up.requires_grad else down
        self._places = self._where()

    def places(self) -> list[Tensor | None]:
        """Where the gradients of A and B are added now, as matrices. Who takes a parameter's gradient away between
        forward and backward, as `zero_grad` does, or puts another in its place, has the new one there."""
        own = (self.down_gradient, self.up_gradient)
        return [
            place if noted is None or noted is parameter.grad else _matrix(parameter.grad)
            for place, noted, parameter in zip(own, self._noted, self.parameters, strict=True)
        ]

    @property
    def holds(self) -> bool:
        """Whether layer and parameters, with their gradients, lie where they lay."""
        return self._places == self._where()

    def _where(self) -> tuple[object, ...]:
        down, up = self.parameters
        return self.layer.weight.data_ptr(), down.data_ptr(), up.data_ptr(), _place(down.grad), _place(up.grad)


def fusible(layer: nn.Module) -> bool:
    """Whether a layer is a plain matrix on channels, which lies in memory as it computes."""
    if "unpack" in layer.__dict__:
        return False
    if isinstance(layer, nn.Conv2d):
        plain = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
        return plain == ((1, 1), (1, 1), (0, 0), 1)
    return isinstance(layer, nn.Linear)


def fused(x: Tensor, branches: Sequence[Branch], scales: Sequence[float]) -> tuple[Tensor, ...]:
    """What each branch makes of x, with its change times a factor: (..., in) to (..., out) for Linear, (n, in, h, w)
    to (n, out, h, w) for Conv2d."""
    anchor = next((one.anchor for one in branches if one.anchor.requires_grad), branches[0].anchor)
    heirs = [one for branch in branches for one in branch.heirs if one.requires_grad]
    if isinstance(branches[0].layer, nn.Linear):
        return _Fused.apply(x, again_of(x), branches, scales, anchor, *heirs)  # pyright: ignore[reportReturnType]
    outs: Any = _Fused.apply(x.permute(0, 2, 3, 1), None, branches, scales, anchor, *heirs)
    return tuple(out.permute(0, 3, 1, 2) for out in outs)


class _Fused(torch.autograd.Function):
    """From x (..., in) to (..., out) of each branch. `anchor` is a parameter, so that autograd comes here even where x
    has no gradient; `heirs` are those whose gradients autograd takes. Parameters must not change between forward and
    backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        again: Again | None,
        branches: Sequence[Branch],
        scales: Sequence[float],
        anchor: nn.Parameter,
        *heirs: nn.Parameter,
    ) -> tuple[Tensor, ...]:
        """What can be made `again` is not kept, but what it is made of."""
        rows = x.reshape(-1, x.shape[-1])
        outs, narrow = _forward(rows, branches, scales)
        ctx.branches, ctx.scales, ctx.shape, ctx.heirs = branches, scales, x.shape, heirs
        ctx.flows = [branch.flow for branch in branches]  # as they are now
        learning = _downs_learn(branches)  # a frozen A, as LoRA-FA's, needs no input kept
        ctx.make = None if again is None else again.make
        kept = () if not learning else (rows,) if again is None else again.of
        ctx.save_for_backward(*narrow, *kept)
        return tuple(out.view(*x.shape[:-1], out.shape[1]) for out in outs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """With g the gradient of a branch's output, h = x Aᵀ and dh = g B: dB = s gᵀ h, dA = s dhᵀ x, and
        dx = Σ g W + s dh A."""
        branches: Sequence[Branch] = ctx.branches
        scales: Sequence[float] = ctx.scales
        count = len(branches)
        saved = ctx.saved_tensors  # once: asked again, checkpointing would compute again
        narrow, kept = saved[:count], saved[count:]
        outs = [gradient.reshape(-1, gradient.shape[-1]) for gradient in grad_outputs]
        by_input: Tensor | None = None
        by_narrow: list[Tensor] = []
        if ctx.needs_input_grad[0] and ctx.make is None and _loops_suffice(branches, ctx.flows, kept):
            by_input = _backward_by_loops(outs, kept[0], narrow, branches, scales)
            return by_input.view(ctx.shape), None, None, None, None, *(None for _ in ctx.heirs)
        if ctx.needs_input_grad[0]:
            by_input, by_narrow = _backward(outs, branches, scales)
        inherited: dict[nn.Parameter, Tensor] = {}
        with beside(outs[0].device, outs, by_narrow, saved):
            if by_input is None:
                by_narrow = [times(out, _as(branch.up, out.dtype)) for branch, out in zip(branches, outs, strict=True)]
            rows: Tensor | None = None
            if _downs_learn(branches):
                rows = (kept[0] if ctx.make is None else ctx.make(*kept)).reshape(-1, ctx.shape[-1])
            for flow, h, dh in zip(ctx.flows, narrow, by_narrow, strict=True):
                if flow is not None:
                    flow.add(h, dh)
            for branch, scale, out, h, dh in zip(branches, scales, outs, narrow, by_narrow, strict=True):
                (down, up), (of_down, of_up) = branch.parameters, branch.places()
                if up.requires_grad:
                    _give(up, of_up, out.t(), h, scale, inherited)
                if rows is not None and down.requires_grad:
                    _give(down, of_down, dh.t(), rows, scale, inherited)
        if inherited:
            for parameter in inherited.keys() - set(ctx.heirs):  # whose gradients were taken away since the forward
                parameter.grad = inherited[parameter]
        if by_input is not None:
            by_input = by_input.view(ctx.shape)
        return by_input, None, None, None, None, *(inherited[one] for one in ctx.heirs)


def _forward(
    rows: Tensor, branches: Sequence[Branch], scales: Sequence[float]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Output and h of each branch."""
    pairs = zip(branches, scales, strict=True)
    if all(branch.border is not None for branch in branches):
        both = [branch.border.forward(rows, scale) for branch, scale in pairs if branch.border is not None]
        return [out for out, _ in both], [narrow for _, narrow in both]
    outs: list[Tensor] = []
    if by_loops.readable(rows) and all(branch.looped for branch in branches):
        outs = [linear(rows, branch.weight, branch.bias) for branch in branches]
        both = zip(pairs, outs, strict=True)
        return outs, [by_loops.add_change(rows, one.down, one.up, scale, out) for (one, scale), out in both]
    narrow = _apart(times(rows, _stacked(branches, rows.dtype)), branches)
    for (branch, scale), h in zip(pairs, narrow, strict=True):
        out = linear(rows, branch.weight, branch.bias)
        outs.append(add_product(out, h, _as(branch.turned_up, rows.dtype), scale))
    return outs, narrow


def _backward(
    outs: Sequence[Tensor], branches: Sequence[Branch], scales: Sequence[float]
) -> tuple[Tensor, list[Tensor]]:
    """The gradient of the input, and dh of each branch."""
    found: Tensor | None = None
    narrow: list[Tensor] = []
    for branch, scale, out in zip(branches, scales, outs, strict=True):
        if branch.border is not None:
            found, dh = branch.border.backward(out, scale, found)
        else:
            dh = times(out, _as(branch.up, out.dtype))
            weight = branch.weight
            found = times(out, weight) if found is None else add_product(found, out, weight, 1.0)
            add_product(found, dh, _as(branch.down, dh.dtype), scale)
        narrow.append(dh)
    assert found is not None, "there is no branch"
    return found, narrow


def _loops_suffice(branches: Sequence[Branch], flows: Sequence[Flow | None], kept: Sequence[Tensor]) -> bool:
    """Whether loops can make all gradients: A and B learn, theirs have places, and nobody asks for dh."""
    if not (all(branch.looped for branch in branches) and kept and by_loops.readable(kept[0])):
        return False
    learn = all(one.requires_grad for branch in branches for one in branch.parameters)
    placed = all(place is not None and by_loops.readable(place) for branch in branches for place in branch.places())
    return learn and placed and all(flow is None for flow in flows)


def _backward_by_loops(
    outs: Sequence[Tensor], rows: Tensor, narrow: Sequence[Tensor], branches: Sequence[Branch], scales: Sequence[float]
) -> Tensor:
    """The gradient of the input; those of A and B are added where they belong."""
    found: Tensor | None = None
    for branch, scale, out, h in zip(branches, scales, outs, narrow, strict=True):
        found = times(out, branch.weight) if found is None else add_product(found, out, branch.weight, 1.0)
        to: Any = (found, *branch.places())
        by_loops.add_gradients(rows, branch.down, branch.up, scale, h, out, to)
    assert found is not None, "there is no branch"
    return found


def _downs_learn(branches: Sequence[Branch]) -> bool:
    return any(branch.parameters[0].requires_grad for branch in branches)


def _matrix(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.view(len(tensor), -1)


def _place(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`to` costs as much as a small product even where it does nothing."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _stacked(branches: Sequence[Branch], dtype: torch.dtype) -> Tensor:
    """All Aᵀ beside each other: (in, sum of ranks)."""
    if len(branches) == 1:
        return _as(branches[0].turned_down, dtype)
    return _as(torch.cat([branch.down for branch in branches]).t(), dtype)


def _apart(narrow: Tensor, branches: Sequence[Branch]) -> Sequence[Tensor]:
    """The columns of each branch."""
    if len(branches) == 1:
        return (narrow,)
    return narrow.split([len(branch.down) for branch in branches], 1)


def _give(
    parameter: nn.Parameter,
    place: Tensor | None,
    left: Tensor,
    right: Tensor,
    scale: float,
    inherited: dict[nn.Parameter, Tensor],
) -> None:
    """Adds `scale` times a product to a parameter's gradient where there is one already, else notes it for autograd."""
    if place is None:
        inherited[parameter] = (left @ right).mul_(scale).view(parameter.shape).to(parameter.dtype)
    elif place.dtype == left.dtype:
        add_product(place, left, right, scale)
    else:
        place.add_(left @ right, alpha=scale)
