"""Matrices as products of two thin ones, by their singular values.

A LoRA's change is B A with `up` B (out, rank) and `down` A (rank, in); a convolution's A keeps the kernel, flattened
here into its columns.

>>> up, down = cut(*singular(matrix), 8)
"""

from collections.abc import Callable, Collection
from math import prod

import torch
from torch import Tensor

from tehon.messages.problem import Problem

Singular = tuple[Tensor, Tensor, Tensor]
"""U (out, n), the singular values S (n,) in falling order, and Vᵀ (n, in), of U diag(S) Vᵀ."""


def singular(matrix: Tensor) -> Singular:
    """The singular value decomposition of a matrix (out, in), without the parts that are multiplied with nothing."""
    u, s, v = torch.linalg.svd(matrix.float(), full_matrices=False)
    return u, s, v


def singular_of_product(up: Tensor, down: Tensor) -> Singular:
    """That of B A, of B (out, r) and A (r, in), without building it: with B = Q1 R1 and Aᵀ = Q2 R2, R1 R2ᵀ is r x r and
    has the same singular values. Worked out in double precision, since ranks that are nearly as strong as each other
    would else be mixed; the matrices are thin, so that it costs little."""
    q1, r1 = torch.linalg.qr(up.double())
    q2, r2 = torch.linalg.qr(down.double().T)
    u, s, v = torch.linalg.svd(r1 @ r2.T)
    return (q1 @ u).float(), s.float(), (v @ q2.T).float()


def cut(u: Tensor, s: Tensor, v: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(B, A) of a rank: the best of that rank by the sum of squares (Eckart and Young). B holds the singular values."""
    return u[:, :rank] * s[:rank], v[:rank].contiguous()


# How many singular values are kept, each a rule on them and a number: those of sd-scripts' networks/resize_lora.py.
RULES: dict[str, Callable[[Tensor, float], int]] = {
    # all that are larger than the largest one / number
    "sv_ratio": lambda s, number: int((s > s[0] / number).sum()),
    # as many as it takes for this share of their sum
    "sv_cumulative": lambda s, number: int(torch.searchsorted(s.cumsum(0) / s.sum(), number)) + 1,
    # as many as it takes for this share of the Frobenius norm
    "sv_fro": lambda s, number: int(torch.searchsorted(s.square().cumsum(0) / s.square().sum(), number**2)) + 1,
}
NOTHING = 1e-6
"""A largest singular value that counts as none."""


def check_ranks(rank: int, conv_rank: int = 0, rule: str = "", number: float = 0.0) -> None:
    """A Problem for what is no rank, and for a number that is none for its rule; a `conv_rank` of 0 is that of all."""
    for field, value, least in (("--rank", rank, 1), ("--conv-rank", conv_rank, 0)):
        if value < least:
            raise Problem("resize_rank", field=field, value=value, least=least)
    if rule == "sv_ratio" and not number > 1:
        raise Problem("resize_ratio", field="--sv-ratio", value=number)
    if rule and rule != "sv_ratio" and not 0 < number <= 1:
        raise Problem("resize_number", field=f"--{rule.replace('_', '-')}", value=number)


def kept(s: Tensor, most: int, rule: str = "", number: float = 0.0) -> int:
    """The rank for singular values: at most `most`, and as few as the rule allows; 1 where there is nothing to keep."""
    most = min(most, len(s))
    if s[0] <= NOTHING:
        return 1
    return max(1, min(most, RULES[rule](s, number))) if rule else most


def is_plain(tensors: Collection[str]) -> bool:
    """Whether the tensors of these names are a LoRA whose change is B A and nothing else."""
    return {"lora_down.weight", "lora_up.weight"} <= set(tensors) <= {"lora_down.weight", "lora_up.weight", "alpha"}


def as_layers(up: Tensor, down: Tensor, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """LoRA's two tensors for a weight of a shape (out, in) or (out, in, kh, kw), out of two matrices."""
    _, wide, *kernel = shape
    assert down.shape[1] == wide * prod(kernel)
    return {
        "lora_down.weight": down.reshape(-1, wide, *kernel),
        "lora_up.weight": up.reshape(*up.shape, *(1 for _ in kernel)),
    }
