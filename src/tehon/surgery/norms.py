"""How large the change of a layer is, out of the tensors that its file holds and without building it: a file of two
thin factors may stand for a change that no memory holds.

>>> change_norm({"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(4.0)})
0.84
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tehon.catalog.kinds import rank_of

_CELLS = 1 << 22
"""How many numbers are worked on at once."""


@torch.no_grad()
def change_norm(tensors: Mapping[str, Tensor]) -> float:
    """The Frobenius norm of a layer's change at strength 1: a whole layer of a LoRA, LoHa or LoKr without DoRA's
    lengths. Not finite where the tensors are not."""
    own = {name: tensor.double() for name, tensor in tensors.items()}
    rank = rank_of({name: tuple(tensor.shape) for name, tensor in own.items()})
    scale = float(own["alpha"]) / rank if rank and "alpha" in own else 1.0  # without a rank LoKr's strength is 1
    if "lora_down.weight" in own:
        square = _chain(own["lora_up.weight"].flatten(1), own.get("lora_mid.weight"), own["lora_down.weight"])
    elif "hada_w1_a" in own:
        square = _loha(own)
    else:
        square = _factor(own, "lokr_w1") * _factor(own, "lokr_w2")  # of a Kronecker product, the product of both
    return abs(scale) * float(square.clamp(min=0).sqrt())


def _factor(own: Mapping[str, Tensor], name: str) -> Tensor:
    """The squared norm of one of LoKr's factors, which is there whole or as a product."""
    if name in own:
        return own[name].square().sum()
    core = own.get("lokr_t2") if name == "lokr_w2" else None
    first = own[f"{name}_a"]
    return _chain(first if core is None else first.T, core, own[f"{name}_b"])


def _chain(up: Tensor, core: Tensor | None, down: Tensor) -> Tensor:
    """Of B A, B (out, r) and A (r, in), or with Tucker's core (r, r, kh, kw) of B C A for each place of the kernel."""
    down = down.flatten(1)
    if core is None:
        return _product(up, down)
    return torch.stack([_product(up @ place, down) for place in core.flatten(2).unbind(2)]).sum()


def _product(up: Tensor, down: Tensor) -> Tensor:
    """‖B A‖² is the sum of BᵀB * A Aᵀ, number by number; where the product is the smaller matrix, it is built."""
    if len(down) ** 2 <= len(up) * down.shape[1]:
        return ((up.T @ up) * (down @ down.T)).sum()
    return (up @ down).square().sum()


def _loha(own: Mapping[str, Tensor]) -> Tensor:
    a, b, c, d = (own[f"hada_{name}"] for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    if "hada_t1" not in own:
        return _elementwise(a, b, c, d)
    cores = zip(own["hada_t1"].flatten(2).unbind(2), own["hada_t2"].flatten(2).unbind(2), strict=True)
    return torch.stack([_elementwise(a.T @ one, b, c.T @ two, d) for one, two in cores]).sum()


def _elementwise(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """‖(A B) * (C D)‖², number by number, of A, C (out, r) and B, D (r, in): a product of rank r², whose two
    factors hold the products of each pair of columns or rows. Where r² is large, it is built some rows at a time."""
    rank, wide = b.shape
    if rank**4 <= min(len(a) * wide, _CELLS):
        return (_pairs(a, c) * _pairs(b.T, d.T)).sum()
    step = max(1, _CELLS // wide)
    rows = zip(a.split(step), c.split(step), strict=True)
    return torch.stack([((one @ b) * (two @ d)).square().sum() for one, two in rows]).sum()


def _pairs(a: Tensor, c: Tensor) -> Tensor:
    """KᵀK (r², r²) of the matrix K (n, r²) of all products of a column of A with one of C."""
    step = max(1, _CELLS // a.shape[1] ** 2)
    total = a.new_zeros(a.shape[1] ** 2, a.shape[1] ** 2)
    for one, two in zip(a.split(step), c.split(step), strict=True):
        each = (one.unsqueeze(2) * two.unsqueeze(1)).flatten(1)
        total += each.T @ each
    return total
