"""LyCORIS' own modules with the same tensors: the same output and gradients; and the same names, sizes and splits.

Live forwards only: LyCORIS' merge of LoHa and LoKr scales twice, and its DyLoRA is no oracle (docs/architecture.md).
"""

from typing import Any

import pytest
import torch
from lycoris.functional.general import factorization
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import nn

from tehon.adapters.adapter import attach, in_file
from tehon.adapters.kinds import build
from tehon.catalog.kinds import Form, factor_pair, tensor_shapes

LAYERS: dict[str, Any] = {
    "linear": lambda: (nn.Linear(48, 80), torch.randn(3, 5, 48)),
    "conv 1x1": lambda: (nn.Conv2d(48, 80, 1), torch.randn(2, 48, 5, 5)),
    "conv 3x3 with stride": lambda: (nn.Conv2d(48, 80, 3, stride=2, padding=1), torch.randn(2, 48, 8, 8)),
}
# (our kind, our form, their class, their options)
CASES: dict[str, tuple[str, Form, Any, dict[str, Any]]] = {
    "locon": ("lora", Form(), LoConModule, {}),
    "locon tucker": ("lora", Form(tucker=True), LoConModule, {"use_tucker": True}),
    "locon dora": ("lora", Form(dora="output"), LoConModule, {"weight_decompose": True}),
    "locon dora on inputs": ("lora", Form(dora="input"), LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "loha": ("loha", Form(), LohaModule, {}),
    "loha tucker": ("loha", Form(tucker=True), LohaModule, {"use_tucker": True}),
    "lokr": ("lokr", Form(), LokrModule, {}),
    "lokr factor 4": ("lokr", Form(factor=4), LokrModule, {"factor": 4}),
    "lokr both": ("lokr", Form(decompose_both=True, factor=16), LokrModule, {"decompose_both": True, "factor": 16}),
    "lokr full": ("lokr", Form(full_matrix=True), LokrModule, {"full_matrix": True}),
    "lokr tucker": ("lokr", Form(tucker=True, factor=4), LokrModule, {"use_tucker": True, "factor": 4}),
    "locon scalar": ("lora", Form(scalar=True), LoConModule, {"use_scalar": True}),
    "loha scalar": ("loha", Form(scalar=True), LohaModule, {"use_scalar": True}),
    "lokr scalar": ("lokr", Form(scalar=True), LokrModule, {"use_scalar": True}),
    "ia3": ("ia3", Form(), IA3Module, {}),
    "ia3 on inputs": ("ia3", Form(on_input=True), IA3Module, {"train_on_input": True}),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("case", CASES)
def test_live_forward_and_gradients_are_those_of_lycoris(case: str, layer: str) -> None:
    kind, form, theirs, options = CASES[case]
    torch.manual_seed(5)
    module, x = LAYERS[layer]()
    module.requires_grad_(False)
    other = theirs("layer", module, multiplier=1.0, lora_dim=4, alpha=2.0, **options)
    shapes = tensor_shapes(kind, tuple(module.weight.shape), 4, form)
    ours = build(module, shapes, 2.0, on_input=form.on_input)
    ours.initialise(torch.Generator().manual_seed(1))
    named = dict(other.named_parameters())
    with torch.no_grad():
        for name, tensor in ours.tensors.items():
            tensor.add_(0.2 * torch.randn(tensor.shape))
            named[name].copy_(tensor.view(named[name].shape))
    assert named.keys() == ours.tensors.keys()
    numbers = {"scalar": ()}  # a number there, one number here
    assert {name: tuple(p.shape) for name, p in named.items()} == {
        name: numbers.get(name, tuple(tensor.shape)) for name, tensor in ours.tensors.items()
    }

    other.apply_to()
    foreign = module(x)
    gradients = torch.autograd.grad(foreign.square().mean(), list(named.values()))
    del module.__dict__["forward"]
    attach(ours)
    y = module(x)
    own = torch.autograd.grad(y.square().mean(), [ours.tensors[name] for name in named])

    assert torch.allclose(y, foreign, rtol=1e-4, atol=1e-5)
    if form.scalar:
        assert all(torch.allclose(in_file(ours)[name], tensor) for name, tensor in other.state_dict().items())
    for (name, parameter), mine, their in zip(named.items(), own, gradients, strict=True):
        if "dora" in case and name != "dora_scale":
            continue  # LyCORIS lets the gradient through the norm; the paper's section 4.3 and peft do not
        assert torch.allclose(mine.view(their.shape), their, rtol=1e-3, atol=1e-6 * parameter.numel() ** 0.5), name


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("case", CASES)
def test_a_file_of_ours_is_one_of_lycoris(case: str, layer: str) -> None:
    """Same names, shapes and alpha as LyCORIS saves; with both factors whole it says alpha = rank, as we do."""
    kind, form, theirs, options = CASES[case]
    module, _ = LAYERS[layer]()
    held = theirs("layer", module, lora_dim=4, alpha=2.0, **options).state_dict()
    shapes = tensor_shapes(kind, tuple(module.weight.shape), 4, form)
    ours = in_file(build(module, shapes, 4.0 if case == "lokr full" else 2.0, on_input=form.on_input))
    assert {name: tuple(t.shape) for name, t in held.items()} == {name: tuple(t.shape) for name, t in ours.items()}
    for name in ("alpha", "on_input"):
        assert (name in held) == (name in ours)
        if name in held:
            assert float(held[name]) == float(ours[name])


@pytest.mark.parametrize("factor", [-1, 1, 2, 3, 4, 8, 16, 100])
def test_sizes_are_split_as_lycoris_splits_them(factor: int) -> None:
    sizes = [*range(1, 200), 250, 320, 360, 512, 640, 768, 1024, 1280, 2048, 2560, 3072, 5120, 10240]
    assert [factor_pair(size, factor) for size in sizes] == [factorization(size, factor) for size in sizes]
