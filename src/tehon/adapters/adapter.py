"""What an adapter is, and how it is put on a layer and taken off again.

An adapter adds a trainable change to one frozen Linear or Conv2d. The layer's own forward is shadowed on the instance,
so its place in the model, its parameters and its name stay as they were, and taking the adapter off leaves no trace.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d


class Adapter(Protocol):
    """The contract of every kind of adapter."""

    layer: Layer
    multiplier: float

    def parameters(self) -> dict[str, nn.Parameter]:
        """Trainable tensors by their name in a file, for example `lora_down.weight`."""
        ...

    def buffers(self) -> dict[str, Tensor]:
        """Tensors that a file holds beside the trainable ones, for example `alpha`."""
        ...

    def delta(self) -> Tensor:
        """The change to the layer's weight, of the weight's shape, multiplier included."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """The changed layer's output."""
        ...


def attach(adapter: Adapter) -> None:
    """Puts an adapter on its layer; a layer can carry one."""
    assert "forward" not in adapter.layer.__dict__, "the layer carries an adapter already"
    adapter.layer.__dict__["forward"] = adapter.forward


def detach(adapter: Adapter) -> None:
    """Takes an adapter off its layer, which then computes exactly what it did before."""
    del adapter.layer.__dict__["forward"]


@torch.no_grad()
def merge(adapter: Adapter) -> None:
    """Adds a detached adapter's change to the layer's own weight for good."""
    assert "forward" not in adapter.layer.__dict__, "detach before merging"
    adapter.layer.weight += adapter.delta().to(adapter.layer.weight.dtype)
