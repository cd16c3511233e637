"""Norms without building the change equal those of the change that is built."""

from pathlib import Path

import pytest
import torch

from tehon.catalog.kinds import Form, tensor_shapes
from tehon.surgery.fitting import change
from tehon.surgery.norms import change_norm


@pytest.mark.parametrize("rank", [1, 3, 11])
@pytest.mark.parametrize("shape", [(40, 36), (24, 28, 3, 3), (5, 6)])
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("lora", Form()),
        ("lora", Form(tucker=True)),
        ("loha", Form()),
        ("loha", Form(tucker=True)),
        ("lokr", Form(factor=4)),
        ("lokr", Form(decompose_both=True)),
        ("lokr", Form(tucker=True)),
        ("lokr", Form(full_matrix=True)),
    ],
)
def test_norms_are_those_of_the_change(kind: str, form: Form, shape: tuple[int, ...], rank: int) -> None:
    torch.manual_seed(rank)
    tensors = {name: torch.randn(size) for name, size in tensor_shapes(kind, shape, rank, form).items()}
    tensors["alpha"] = torch.tensor(2.5)
    built = change(torch.zeros(shape), tensors, "x", Path())
    assert change_norm(tensors) == pytest.approx(float(built.double().norm()), rel=1e-5)


def test_tensors_that_are_not_finite_give_no_finite_norm() -> None:
    tensors = {"lora_down.weight": torch.full((2, 3), torch.nan), "lora_up.weight": torch.zeros(4, 2)}
    assert change_norm(tensors) != change_norm(tensors)
