"""Optimizers over the flat parameter groups."""

from collections.abc import Mapping

import torch
from torch import nn


def adamw(groups: Mapping[str, nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101) with torch's betas and epsilon; one parameter group a part, named for it."""
    rows = [{"params": [parameter], "name": name, "lr": 0.0} for name, parameter in groups.items()]
    return torch.optim.AdamW(rows, lr=0.0, weight_decay=weight_decay)
