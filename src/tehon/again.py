"""Tensors that are quickly made again from others that are kept anyway, so that nobody has to keep them for a backward.

>>> again_of(made_again(out, gated, (projected,)))
Again(make=gated, of=(projected,))
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Again(NamedTuple):
    """`make(*of)` gives the tensor once more, the same to the last bit."""

    make: Callable[..., Tensor]
    of: tuple[Tensor, ...]


def pays(device: torch.device) -> bool:
    """Whether it pays there: on a CPU it takes longer for what it saves."""
    return device.type != "cpu"


def made_again(tensor: Tensor, make: Callable[..., Tensor], of: tuple[Tensor, ...]) -> Tensor:
    """Notes on the tensor how it is made again."""
    noted: Any = tensor
    noted.again = Again(make, tuple(one.detach() for one in of))
    return tensor


def again_of(tensor: Tensor) -> Again | None:
    """How a tensor is made again; None where that was not noted. Tensors that are made of it don't inherit it."""
    return getattr(tensor, "again", None)
