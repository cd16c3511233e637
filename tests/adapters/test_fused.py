"""LoRA's own operation against the plain one, which PyTorch differentiates."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tehon.adapters.adapter import attach, detach, trainable
from tehon.adapters.chance import Chance, Moment
from tehon.adapters.flat import FlatParameters
from tehon.adapters.fused import Branch, fused
from tehon.adapters.lora import Lora, joint
from tehon.adapters.restraint import Restraint

LAYERS: dict[str, Any] = {
    "linear": (partial(nn.Linear, 48, 40), (3, 48)),
    "linear on tokens": (partial(nn.Linear, 48, 40, bias=False), (2, 9, 48)),
    "conv 1x1": (partial(nn.Conv2d, 48, 40, 1), (2, 48, 5, 7)),
}


def lora(layer: Any, seed: int = 1, **options: Any) -> Lora:
    """A change that is not zero, at a strength that is neither 1 nor alpha / rank."""
    ones = (1, 1) if isinstance(layer, nn.Conv2d) else ()
    shapes = {"lora_down.weight": (4, 48, *ones), "lora_up.weight": (40, 4, *ones)}
    adapter = Lora(layer.requires_grad_(False), shapes, 3.0, **options)
    generator = torch.Generator().manual_seed(seed)
    adapter.initialise(generator)
    adapter.multiplier = 0.7
    with torch.no_grad():
        adapter.up.copy_(torch.randn(adapter.up.shape, generator=generator))
    return adapter


def results(call: Any, x: Tensor, adapters: list[Lora]) -> list[Tensor]:
    """Outputs, and gradients of the input and of all that is trained, for a loss that weighs every number."""
    x = x.detach().clone().requires_grad_()
    for adapter in adapters:
        for tensor in adapter.tensors.values():
            if tensor.grad is not None:
                tensor.grad.zero_()
    outs = call(x)
    outs = outs if isinstance(outs, tuple) else (outs,)
    sum((out * torch.linspace(-1, 2, out.numel()).view(out.shape)).sum() for out in outs).backward()
    found = [*outs, x.grad]
    for adapter in adapters:
        for tensor in trainable(adapter).values():
            assert tensor.grad is not None
            found.append(tensor.grad.clone())
    return [tensor.detach() for tensor in found if tensor is not None]


def same(found: list[Tensor], wanted: list[Tensor], close: float = 1e-5) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert other.abs().max() > 0
        assert (one - other).norm() <= close * other.norm()


@pytest.mark.parametrize("flat", [False, True], ids=["own gradients", "flat gradients"])
@pytest.mark.parametrize("name", LAYERS)
def test_same_outputs_and_gradients(name: str, flat: bool) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    adapter = lora(make())
    if flat:
        FlatParameters({"one": list(trainable(adapter).values())})
    x = torch.randn(shape)
    assert adapter.branch(x) is not None
    wanted = results(adapter.plain, x, [adapter])
    for tensor in () if flat else adapter.tensors.values():
        tensor.grad = None
    same(results(adapter.forward, x, [adapter]), wanted)


@pytest.mark.parametrize("taken", ["away", "for another"])
@pytest.mark.parametrize("together", [False, True], ids=["one layer", "two layers with one input"])
def test_gradients_may_be_taken_between_forward_and_backward(taken: str, together: bool) -> None:
    """As `zero_grad` does in most loops, after the loss is known."""
    torch.manual_seed(0)
    adapters = [lora(nn.Linear(48, 40), seed) for seed in (1, 2)] if together else [lora(nn.Linear(48, 40))]
    for adapter in adapters:
        attach(adapter)
    tensors = [tensor for adapter in adapters for tensor in trainable(adapter).values()]
    x = torch.randn(3, 48)
    call = joint(adapters) if together else lambda x: (adapters[0].forward(x),)
    for _ in range(3):
        outs = call(x)
        assert outs is not None
        for tensor in tensors:
            tensor.grad = None if taken == "away" else torch.zeros_like(tensor)
        sum((number + 1) * out.square().sum() for number, out in enumerate(outs)).backward()
        found = [tensor.grad for tensor in tensors]
        plain = sum((n + 1) * adapter.plain(x).square().sum() for n, adapter in enumerate(adapters))
        same(found, list(torch.autograd.grad(plain, tensors)))


def test_gradients_are_added_where_the_flat_buffer_keeps_them() -> None:
    torch.manual_seed(0)
    adapter = lora(nn.Linear(48, 40))
    flat = FlatParameters({"one": list(trainable(adapter).values())})
    x = torch.randn(3, 48)
    for _ in range(2):
        adapter.forward(x).sum().backward()
    twice = flat.gradients.clone()
    flat.gradients.zero_()
    adapter.plain(x).sum().backward()
    torch.testing.assert_close(twice, 2 * flat.gradients)


def test_layers_that_read_the_same() -> None:
    torch.manual_seed(0)
    adapters = [lora(nn.Linear(48, 40, bias=bool(seed)), seed) for seed in range(3)]
    FlatParameters({"one": [tensor for adapter in adapters for tensor in trainable(adapter).values()]})
    for adapter in adapters:
        attach(adapter)
    x = torch.randn(2, 9, 48)
    wanted = results(lambda x: tuple(adapter.plain(x) for adapter in adapters), x, adapters)
    same(results(joint(adapters), x, adapters), wanted)
    detach(adapters[1])
    assert joint(adapters)(x) is None


def test_gradient_checkpointing_gives_the_same() -> None:
    torch.manual_seed(0)
    adapter = lora(nn.Linear(48, 40))
    FlatParameters({"one": list(trainable(adapter).values())})
    x = torch.randn(2, 9, 48)
    again = partial(checkpoint, adapter.forward, use_reentrant=False)
    same(results(again, x, [adapter]), results(adapter.plain, x, [adapter]))


def test_what_is_frozen_gets_no_gradient() -> None:
    torch.manual_seed(0)
    adapter = lora(nn.Linear(48, 40), frozen_down=True)
    flat = FlatParameters({"one": [adapter.up]})
    adapter.forward(torch.randn(3, 48)).sum().backward()
    assert adapter.down.grad is None
    assert flat.gradients.abs().min() > 0
    other = lora(nn.Linear(48, 40))
    flat = FlatParameters({"ended": list(trainable(other).values())})
    flat.freeze({"ended": flat.weights.clone()})
    x = torch.randn(3, 48, requires_grad=True)
    other.forward(x).sum().backward()
    assert x.grad is not None
    assert not flat.gradients.any()


@pytest.mark.parametrize("share", ["dropout", "rank_dropout", "module_dropout"])
def test_dropout_is_left_to_the_plain_way(share: str) -> None:
    torch.manual_seed(0)
    moment = Moment()
    adapter = lora(nn.Linear(48, 40), restraint=Restraint(Chance(moment, "name"), **{share: 0.5}))
    x = torch.randn(4, 48)
    assert adapter.branch(x) is not None
    moment.begin(step=3, samples=torch.arange(4))
    assert adapter.branch(x) is None
    assert (adapter.forward(x) - adapter.layer(x)).eq(0).any() or share != "module_dropout"


def test_other_types_than_the_weights_are_left_to_the_plain_way() -> None:
    adapter = lora(nn.Linear(48, 40))
    assert adapter.branch(torch.randn(3, 48).bfloat16()) is None


def test_half_precision_gives_what_the_plain_way_gives() -> None:
    torch.manual_seed(0)
    adapter = lora(nn.Linear(48, 40).to(torch.bfloat16))
    FlatParameters({"one": list(trainable(adapter).values())})
    x = torch.randn(64, 48).bfloat16()
    wanted = [tensor.float() for tensor in results(adapter.plain, x, [adapter])]
    found = [tensor.float() for tensor in results(adapter.forward, x, [adapter])]
    assert adapter.down.grad is not None
    assert adapter.down.grad.dtype == torch.float32
    same(found, wanted, close=2e-2)


def test_weights_that_moved_are_found_again() -> None:
    """Another buffer after the first step: what the operation remembers of the old one is of no use."""
    torch.manual_seed(0)
    adapter = lora(nn.Linear(48, 40))
    x = torch.randn(3, 48)
    adapter.forward(x).sum().backward()
    adapter.up.grad = adapter.down.grad = None
    flat = FlatParameters({"one": list(trainable(adapter).values())})
    flat.weights.mul_(2.0)
    torch.testing.assert_close(adapter.forward(x), adapter.plain(x))
    adapter.layer.weight.data = adapter.layer.weight.data * 2
    torch.testing.assert_close(adapter.forward(x), adapter.plain(x))


def test_layers_learn_beside_one_that_does_not() -> None:
    """Their common input has no gradient, as at the first adapter of a network."""
    torch.manual_seed(1)
    branches: list[Branch] = []
    for learns in (False, True):
        down = nn.Parameter(torch.randn(2, 4), requires_grad=learns)
        up = nn.Parameter(torch.randn(3, 2), requires_grad=learns)
        if learns:  # gradients have their places, as those of `FlatParameters`
            down.grad, up.grad = torch.zeros_like(down), torch.zeros_like(up)
        branches.append(Branch(nn.Linear(4, 3).requires_grad_(False), down, up))
    torch.cat(fused(torch.randn(5, 4), branches, (1.0, 1.0))).sum().backward()
    assert all(parameter.grad is None for parameter in branches[0].parameters)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in branches[1].parameters)
