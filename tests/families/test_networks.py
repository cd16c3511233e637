"""Building the libraries' networks without their loaders."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tehon.families.networks import Blank, fill
from tehon.messages.problem import Problem

CPU = torch.device("cpu")


def blank() -> nn.Linear:
    with Blank():
        return nn.Linear(3, 2)


def test_blank_networks_have_no_memory_and_draw_nothing() -> None:
    before = torch.random.get_rng_state()
    network = blank()
    assert network.weight.is_meta
    assert network.weight.shape == (2, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not nn.Linear(3, 2).weight.is_meta


def test_filled_networks_are_frozen_and_hold_the_tensors() -> None:
    tensors = {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.zeros(2, dtype=torch.float16)}
    network = fill(blank(), tensors, torch.float32, CPU, Path("unet"))
    assert network(torch.ones(3)).tolist() == [3, 3]
    assert not network.training
    assert not network.weight.requires_grad


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"weight": torch.ones(2, 3)}, "bias does not fit"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "scale": torch.ones(1)}, "scale does not fit"),
        ({"weight": torch.ones(3, 3), "bias": torch.ones(2)}, r"weight is \(3, 3\), not \(2, 3\)"),
    ],
)
def test_every_tensor_has_to_find_its_place(tensors: dict[str, torch.Tensor], reason: str) -> None:
    with pytest.raises(Problem, match=rf"unet cannot be loaded \({reason}"):
        fill(blank(), tensors, torch.float32, CPU, Path("unet"))
