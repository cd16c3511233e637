"""What an adapter is, and how it is put on a layer, taken off, merged, filled and scaled.

An adapter adds a trainable change to one frozen Linear or Conv2d. The layer's own forward is shadowed on the instance,
so its place in the model, its parameters and its name stay as they were, and taking the adapter off leaves no trace.
What follows from `delta` is written once, here, for all kinds.

>>> adapter = build(nn.Linear(320, 320), {"lora_down.weight": (8, 320), "lora_up.weight": (320, 8)}, alpha=4.0)
>>> attach(adapter)
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d
_TAKES_SCALAR = ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a")
Shapes = Mapping[str, tuple[int, ...]]


class Adapter(Protocol):
    """The contract of every kind of adapter."""

    layer: Layer
    multiplier: float
    """Strength on top of the adapter's own scale; 1 in training."""

    tensors: dict[str, nn.Parameter]
    """What it is made of, by name in a file. Those that don't require gradients stay as they were drawn."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draws the tensors from a CPU generator, so that every device starts alike; the change is zero afterwards."""
        ...

    def constants(self) -> dict[str, Tensor]:
        """Tensors that a file holds beside them, for example `alpha`, or in their place."""
        ...

    def delta(self) -> Tensor:
        """The change to the layer's weight, of the weight's shape, float32, multiplier included."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """The changed layer's output. Shapes as the layer's own: (..., in) to (..., out), or (n, in, h, w) to
        (n, out, h', w')."""
        ...

    def factors(self) -> tuple[nn.Parameter, ...]:
        """Tensors in each of which `delta` is linear, so that scaling one scales the change; none where there is no
        such tensor."""
        ...


def new_tensors(layer: Layer, shapes: Shapes) -> dict[str, nn.Parameter]:
    """Float32 zeros of the given shapes beside the layer; numbers without a shape are no tensors of an adapter's
    own."""
    return {
        name: nn.Parameter(torch.zeros(shape, device=layer.weight.device)) for name, shape in shapes.items() if shape
    }


def trainable(adapter: Adapter) -> dict[str, nn.Parameter]:
    """The tensors that are trained."""
    return {name: tensor for name, tensor in adapter.tensors.items() if tensor.requires_grad}


def in_file(adapter: Adapter) -> dict[str, Tensor]:
    """All that a file holds of an adapter. A trained scalar has no name in files, so a tensor in which the change is
    linear takes it up, the one that LyCORIS' own files have it in."""
    held: dict[str, Tensor] = {**adapter.tensors, **adapter.constants()}
    scalar = held.pop("scalar", None)
    if scalar is not None:
        name = next(name for name in _TAKES_SCALAR if name in held)
        held[name] = held[name] * scalar
    return held


def attach(adapter: Adapter) -> None:
    """Puts an adapter on its layer; a layer can carry one."""
    assert "forward" not in adapter.layer.__dict__, "the layer carries an adapter already"
    adapter.layer.__dict__["forward"] = adapter.forward


def attached(adapter: Adapter) -> bool:
    """Whether an adapter is on its layer."""
    return adapter.layer.__dict__.get("forward") == adapter.forward


def detach(adapter: Adapter) -> None:
    """Takes an adapter off its layer, which then computes exactly what it did before."""
    del adapter.layer.__dict__["forward"]


@torch.no_grad()
def merge(adapter: Adapter) -> None:
    """Adds a detached adapter's change to the layer's own weight for good."""
    assert "forward" not in adapter.layer.__dict__, "detach before merging"
    adapter.layer.weight += adapter.delta().to(adapter.layer.weight.dtype)


@torch.no_grad()
def fill(adapter: Adapter, values: Mapping[str, Tensor]) -> None:
    """Copies values into the adapter's tensors; ValueError where one has another shape."""
    for name, tensor in adapter.tensors.items():
        if name == "scalar":  # the other tensors of a file hold it
            tensor.fill_(1.0)
            continue
        if values[name].shape != tensor.shape:
            raise ValueError(f"{name} is {tuple(values[name].shape)}, not {tuple(tensor.shape)}")
        tensor.copy_(values[name])


def run(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer's operation with another weight, which for a Conv2d may have other numbers of channels."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    padding: Any = layer.padding
    if x.is_cpu and x.dtype == torch.bfloat16 and layer.stride[-1] > 1 and x.shape[-1] == 1:
        # here PyTorch 2.13 leaves parts of the weight's gradient as the memory was before
        weight, bias = weight.float(), None if bias is None else bias.float()
        return F.conv2d(x.float(), weight, bias, layer.stride, padding, layer.dilation).to(x.dtype)
    return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation)


def pointwise(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """A matrix (out, in) on the channels of what goes through the layer: the last dimension, or a convolution's
    second."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight.flatten(1))
    return F.conv2d(x, weight.view(*weight.shape[:2], 1, 1))


def base(layer: Layer, x: Tensor) -> Tensor:
    """What the layer computes without its adapter."""
    forward: Any = type(layer).forward  # the class's own, whatever shadows it on the instance
    return forward(layer, x)


def unbiased(layer: Layer, x: Tensor) -> Tensor:
    """What the layer computes without its adapter and its bias. Layers that keep their weight in another form do it
    themselves."""
    own: Any = getattr(layer, "unbiased", None)
    return run(layer, x, layer.weight) if own is None else own(x)


def kaiming(tensor: Tensor, generator: torch.Generator) -> None:
    """Fills with Kaiming-uniform numbers with a = √5, which is U(-1/√fan_in, 1/√fan_in)."""
    bound = tensor[0].numel() ** -0.5
    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (2 * bound) - bound)


def gaussian(tensor: Tensor, generator: torch.Generator, deviation: float) -> None:
    """Fills with normal numbers around zero."""
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation)
