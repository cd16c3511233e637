"""Gradient checkpointing (arXiv 1604.06174): blocks of which the inputs alone are kept, and which compute again in the
backward.

What adapters draw is a function of what is being computed, so that they draw the same again.

>>> compute_again(parts.unet, ["down_blocks.0.resnets.0"])
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def compute_again(network: nn.Module, paths: Iterable[str]) -> None:
    """Lets the modules whose path ends so keep nothing but their inputs while gradients are taken."""
    for path in paths:
        (block,) = (module for name, module in network.named_modules() if f".{name}".endswith(f".{path}"))
        block.__dict__["forward"] = partial(_forward, block.forward)


def _forward(forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **options)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **options)
