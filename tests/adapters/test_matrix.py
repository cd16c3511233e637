"""The matrix of checks that every kind of adapter must pass: kind x layer x alpha x type."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tehon.adapters.adapter import Adapter, Layer, attach, detach, fill, in_file, merge, trainable
from tehon.adapters.dora import Dora
from tehon.adapters.dylora import DyLora
from tehon.adapters.ia3 import Ia3
from tehon.adapters.kinds import Training, build
from tehon.adapters.loha import Loha
from tehon.adapters.lokr import Lokr
from tehon.adapters.lora import Lora

LAYERS: dict[str, Any] = {
    "linear": lambda: (nn.Linear(6, 10), torch.randn(3, 6)),
    "linear on tokens": lambda: (nn.Linear(6, 10, bias=False), torch.randn(2, 5, 6)),
    "conv 1x1": lambda: (nn.Conv2d(6, 10, 1), torch.randn(2, 6, 5, 5)),
    "conv 3x3 with stride": lambda: (nn.Conv2d(6, 10, 3, stride=2, padding=1), torch.randn(2, 6, 8, 8)),
}


def lora(out: int, wide: int, *kernel: int) -> dict[str, tuple[int, ...]]:
    return {"lora_down.weight": (4, wide, *kernel), "lora_up.weight": (out, 4, *(1 for _ in kernel))}


def tucker(out: int, wide: int, *kernel: int) -> dict[str, tuple[int, ...]]:
    core = {"lora_mid.weight": (4, 4, *kernel)}
    return {"lora_down.weight": (4, wide, 1, 1), **core, "lora_up.weight": (out, 4, 1, 1)}


def area(kernel: tuple[int, ...]) -> int:
    return kernel[0] * kernel[1] if kernel else 1


def ones(kernel: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 for _ in kernel)


# kind: (class, shapes for a weight of (out, in, *kernel), layers it is for)
CONVS = ("conv 3x3 with stride",)
KINDS: dict[str, tuple[type, Any, tuple[str, ...]]] = {
    "lora": (Lora, lora, tuple(LAYERS)),
    "lora tucker": (Lora, tucker, CONVS),
    "lora_fa": (Lora, lora, tuple(LAYERS)),
    "dylora": (DyLora, lora, tuple(LAYERS)),
    "dora by output": (Dora, lambda o, i, *k: lora(o, i, *k) | {"dora_scale": (o, 1, *ones(k))}, tuple(LAYERS)),
    "dora by input": (Dora, lambda o, i, *k: lora(o, i, *k) | {"dora_scale": (1, i, *ones(k))}, tuple(LAYERS)),
    "loha": (
        Loha,
        lambda o, i, *k: {f"hada_w{n}_{s}": ((o, 4) if s == "a" else (4, i * area(k))) for n in (1, 2) for s in "ab"},
        tuple(LAYERS),
    ),
    "loha tucker": (
        Loha,
        lambda o, i, *k: (
            {f"hada_w{n}_{s}": (4, o if s == "a" else i) for n in (1, 2) for s in "ab"}
            | {"hada_t1": (4, 4, *k), "hada_t2": (4, 4, *k)}
        ),
        CONVS,
    ),
    "lokr": (
        Lokr,
        lambda o, i, *k: {"lokr_w1": (2, 3), "lokr_w2_a": (o // 2, 4), "lokr_w2_b": (4, i // 3 * area(k))},
        tuple(LAYERS),
    ),
    "lokr decomposed": (
        Lokr,
        lambda o, i, *k: (
            {"lokr_w1_a": (2, 4), "lokr_w1_b": (4, 3), "lokr_w2_a": (o // 2, 4)} | {"lokr_w2_b": (4, i // 3 * area(k))}
        ),
        tuple(LAYERS),
    ),
    "lokr full": (Lokr, lambda o, i, *k: {"lokr_w1": (2, 3), "lokr_w2": (o // 2, i // 3, *k)}, tuple(LAYERS)),
    "lokr small decomposed": (
        Lokr,
        lambda o, i, *k: {"lokr_w1_a": (2, 4), "lokr_w1_b": (4, 3), "lokr_w2": (o // 2, i // 3, *k)},
        tuple(LAYERS),
    ),
    "lokr tucker": (
        Lokr,
        lambda o, i, *k: {"lokr_w1": (2, 3), "lokr_t2": (4, 4, *k), "lokr_w2_a": (4, o // 2), "lokr_w2_b": (4, i // 3)},
        CONVS,
    ),
    "ia3 on output": (Ia3, lambda o, i, *k: {"weight": (1, o, 1, 1) if k else (o,), "on_input": ()}, tuple(LAYERS)),
    "ia3 on input": (Ia3, lambda o, i, *k: {"weight": (1, i, 1, 1) if k else (i,), "on_input": ()}, tuple(LAYERS)),
}
ROWS = [(kind, layer) for kind, (_, _, layers) in KINDS.items() for layer in layers]
TYPES = (torch.float32, torch.bfloat16)
matrix = pytest.mark.parametrize(
    ("kind", "layer", "alpha", "dtype"), [(*row, a, t) for row, a, t in product(ROWS, (4.0, 1.0), TYPES)]
)
rows = pytest.mark.parametrize(("kind", "layer"), ROWS)


def fresh(
    kind: str, layer: str, alpha: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[Layer, Tensor, Adapter]:
    torch.manual_seed(3)
    module, x = LAYERS[layer]()
    module = module.to(dtype).requires_grad_(False)
    shapes = KINDS[kind][1](*module.weight.shape)
    training = Training(frozen_down=kind == "lora_fa", unit=2 if kind == "dylora" else 0)
    adapter = build(module, shapes, alpha, training=training, on_input=kind == "ia3 on input")
    assert type(adapter) is KINDS[kind][0]
    adapter.initialise(torch.Generator().manual_seed(4))
    return module, x.to(dtype), adapter


def trained(
    kind: str, layer: str, alpha: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[Layer, Tensor, Adapter]:
    module, x, adapter = fresh(kind, layer, alpha, dtype)
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.add_(0.4 * torch.randn(tensor.shape))
    return module, x, adapter


def formula(kind: str, layer: Layer, adapter: Adapter, alpha: float) -> Tensor:
    """Each kind's change written out as its paper or LyCORIS' documentation has it, in float64."""
    t = {name.removesuffix(".weight"): tensor.detach().double() for name, tensor in adapter.tensors.items()}
    weight = layer.weight.double()
    out, wide, *kernel = weight.shape
    if kind.startswith(("lora", "dylora", "dora")):
        up = t["lora_up"].reshape(out, 4)
        if "lora_mid" in t:
            change = torch.einsum("oa,abkl,bi->oikl", up, t["lora_mid"], t["lora_down"][:, :, 0, 0])
        else:
            change = torch.einsum("or,r...->o...", up, t["lora_down"])
        change = change * alpha / 4
        if kind.startswith("dora"):
            changed = weight + change
            dims = [d for d in range(weight.dim()) if d != (0 if "output" in kind else 1)]
            norms = changed.square().sum(dims, keepdim=True).sqrt()
            change = t["dora_scale"] * changed / norms - weight
        return change
    if kind.startswith("loha"):
        halves = [
            torch.einsum("abkl,bi,ao->oikl", t[f"hada_t{n}"], t[f"hada_w{n}_b"], t[f"hada_w{n}_a"])
            if "tucker" in kind
            else (t[f"hada_w{n}_a"] @ t[f"hada_w{n}_b"]).reshape(weight.shape)
            for n in (1, 2)
        ]
        return halves[0] * halves[1] * alpha / 4
    if kind.startswith("lokr"):
        small = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
        if "lokr_w2" in t:
            large = t["lokr_w2"]
        elif "lokr_t2" in t:
            large = torch.einsum("abkl,bi,ao->oikl", t["lokr_t2"], t["lokr_w2_b"], t["lokr_w2_a"])
        else:
            large = (t["lokr_w2_a"] @ t["lokr_w2_b"]).reshape(out // 2, wide // 3, *kernel)
        blocks = [torch.cat([small[a, c] * large for c in range(3)], 1) for a in range(2)]
        return torch.cat(blocks, 0) * (1.0 if kind == "lokr full" else alpha / 4)
    factors = t["weight"].flatten()
    side = 1 if "input" in kind else 0
    return weight * factors.view([-1 if d == side else 1 for d in range(weight.dim())])


@matrix
def test_changes_nothing_at_the_start(kind: str, layer: str, alpha: float, dtype: torch.dtype) -> None:
    module, x, adapter = fresh(kind, layer, alpha, dtype)
    before = module(x)
    attach(adapter)
    # DoRA adds the bias after the product, not with it; a 1x1 convolution with its LoRA is a product of matrices
    a_product = layer == "conv 1x1" and kind in ("lora", "lora_fa", "dylora")
    otherwise = kind.startswith("dora") or a_product
    rounding = 1e-6 if dtype == torch.float32 else 0.02
    assert torch.equal(module(x), before) or (
        otherwise and torch.allclose(module(x), before, atol=rounding, rtol=rounding)
    )
    assert not adapter.delta().any()


@matrix
def test_detaching_leaves_no_trace(kind: str, layer: str, alpha: float, dtype: torch.dtype) -> None:
    module, x, adapter = trained(kind, layer, alpha, dtype)
    before, attributes, weight = module(x), set(module.__dict__), module.weight.clone()
    attach(adapter)
    assert not torch.equal(module(x), before)
    detach(adapter)
    assert torch.equal(module(x), before)
    assert torch.equal(module.weight, weight)
    assert set(module.__dict__) == attributes


@matrix
def test_merged_equals_live(kind: str, layer: str, alpha: float, dtype: torch.dtype) -> None:
    module, x, adapter = trained(kind, layer, alpha, dtype)
    attach(adapter)
    live = module(x)
    detach(adapter)
    merge(adapter)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    assert torch.allclose(module(x), live, rtol=tolerance, atol=tolerance)


@matrix
def test_delta_is_the_formula(kind: str, layer: str, alpha: float, dtype: torch.dtype) -> None:
    module, _, adapter = trained(kind, layer, alpha, dtype)
    assert adapter.delta().dtype == torch.float32
    assert adapter.delta().shape == module.weight.shape
    expected = formula(kind, module, adapter, alpha)
    assert torch.allclose(adapter.delta().double(), expected, rtol=1e-4, atol=1e-5)


@matrix
def test_gradients_are_the_adapters_alone(kind: str, layer: str, alpha: float, dtype: torch.dtype) -> None:
    module, x, adapter = trained(kind, layer, alpha, dtype)
    attach(adapter)
    module(x).float().square().sum().backward()
    assert module.weight.grad is None
    parameters = trainable(adapter)
    assert len(parameters) == len(adapter.tensors) - (kind == "lora_fa")
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        assert parameter.dtype == torch.float32


@rows
def test_gradients_are_those_of_the_changed_weight(kind: str, layer: str) -> None:
    """Live, with its thin products, against one operation with W + delta; for what comes in, too."""
    module, x, adapter = trained(kind, layer)
    weight, parameters = module.weight.detach(), list(trainable(adapter).values())
    x.requires_grad_()
    attach(adapter)
    live = torch.autograd.grad(module(x).square().sum(), [x, *parameters])
    detach(adapter)
    changed = weight + adapter.delta()
    if isinstance(module, nn.Linear):
        y = nn.functional.linear(x, changed, module.bias)
    else:
        y = nn.functional.conv2d(x, changed, module.bias, module.stride, module.padding)
    merged = torch.autograd.grad(y.square().sum(), [x, *parameters])
    for one, other in zip(live, merged, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(("ia3", "dylora", "lora_fa"))])
def test_gradients_on_a_picture_of_one_column_are_whole_in_bfloat16(kind: str) -> None:
    """PyTorch's own, of a convolution with a stride, are in parts what the memory held before."""

    def gradients(dtype: torch.dtype) -> dict[str, Tensor]:
        torch.manual_seed(3)
        layer = nn.Conv2d(96, 32, 3, stride=2, padding=1).requires_grad_(False)
        x, given = torch.randn(2, 96, 4, 1).to(dtype), torch.randn(2, 32, 2, 1).to(dtype)
        adapter = build(layer.to(dtype), KINDS[kind][1](32, 96, 3, 3), 4.0)
        for tensor in adapter.tensors.values():
            nn.init.normal_(tensor, std=0.1)
            torch.full(tensor.shape, torch.nan, dtype=dtype)  # left behind in the memory
        (adapter.forward(x) * given).sum().backward()
        return {name: tensor.grad for name, tensor in adapter.tensors.items() if tensor.grad is not None}

    wanted = gradients(torch.float32)
    for _ in range(10):
        for name, found in gradients(torch.bfloat16).items():
            assert (found - wanted[name]).norm() < 0.03 * wanted[name].norm(), name


@rows
def test_what_a_file_holds_builds_the_same_adapter(kind: str, layer: str) -> None:
    module, x, adapter = trained(kind, layer, alpha=3.0)
    held = in_file(adapter)
    on_input = bool(held.get("on_input", torch.tensor(0)))
    shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
    again = build(module, shapes, float(held.get("alpha", torch.tensor(1.0))), on_input=on_input)
    fill(again, held)
    attach(again)
    there = module(x)
    detach(again)
    attach(adapter)
    if kind == "dylora":  # sorted in a file, where the product is the same but for rounding
        assert torch.allclose(again.delta(), adapter.delta(), rtol=1e-4, atol=1e-6)
        assert torch.allclose(module(x), there, rtol=1e-4, atol=1e-5)
        return
    assert torch.equal(again.delta(), adapter.delta())
    assert torch.equal(module(x), there)


@rows
def test_a_tensor_of_another_shape_is_refused(kind: str, layer: str) -> None:
    _, _, adapter = trained(kind, layer)
    with pytest.raises(ValueError, match="not"):
        fill(adapter, {name: torch.zeros(7, 7, 7) for name in adapter.tensors})


@rows
def test_strength_multiplies_the_change_live_and_merged(kind: str, layer: str) -> None:
    module, x, adapter = trained(kind, layer)
    base, full = module(x), adapter.delta()
    attach(adapter)
    whole = module(x) - base
    for strength in (0.0, 0.5, -1.0):
        adapter.multiplier = strength
        assert torch.allclose(adapter.delta(), strength * full, atol=1e-6)
        assert torch.allclose(module(x) - base, strength * whole, atol=1e-5)


@rows
def test_the_change_is_linear_in_each_factor(kind: str, layer: str) -> None:
    _, _, adapter = trained(kind, layer)
    before = adapter.delta()
    for factor in adapter.factors():
        with torch.no_grad():
            factor.mul_(2)
        assert torch.allclose(adapter.delta(), 2 * before, rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            factor.div_(2)
    assert bool(adapter.factors()) != kind.startswith("dora")


@rows
def test_what_is_drawn_depends_on_the_generator_alone(kind: str, layer: str) -> None:
    """An adapter with values is drawn anew: everything of it comes from the generator, and the change is zero."""
    _, _, adapter = trained(kind, layer)
    first = fresh(kind, layer)[2]
    adapter.initialise(torch.Generator().manual_seed(4))
    assert all(torch.equal(adapter.tensors[name], tensor) for name, tensor in first.tensors.items())
    adapter.initialise(torch.Generator().manual_seed(5))
    same = all(torch.equal(adapter.tensors[name], tensor) for name, tensor in first.tensors.items())
    assert same == kind.startswith("ia3")


def test_a_layer_carries_one_adapter() -> None:
    _, _, adapter = fresh("lora", "linear")
    attach(adapter)
    with pytest.raises(AssertionError):
        attach(adapter)


def test_unknown_tensors_are_no_adapter() -> None:
    with pytest.raises(ValueError, match=r"oft_blocks"):
        build(nn.Linear(2, 2), {"oft_blocks": (2, 2)}, 1.0)


def test_starts_are_those_of_the_papers() -> None:
    layer = nn.Linear(100, 400)
    shapes = {"lora_down.weight": (64, 100), "lora_up.weight": (400, 64)}
    adapter = build(layer, shapes, 64.0)
    adapter.initialise(torch.Generator().manual_seed(0))
    down = adapter.tensors["lora_down.weight"].detach()
    assert down.abs().max() <= 0.1
    assert down.std() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    adapter = build(layer, shapes, 64.0, training=Training(init="gaussian"))
    adapter.initialise(torch.Generator().manual_seed(0))
    assert adapter.tensors["lora_down.weight"].detach().std() == pytest.approx(1 / 64, rel=0.05)
    loha = build(layer, {f"hada_w{n}_{s}": (400, 64) if s == "a" else (64, 100) for n in (1, 2) for s in "ab"}, 1.0)
    loha.initialise(torch.Generator().manual_seed(0))
    deviations = {name: tensor.detach().std().item() for name, tensor in loha.tensors.items()}
    assert deviations == pytest.approx({"hada_w1_a": 0.1, "hada_w1_b": 1, "hada_w2_a": 0, "hada_w2_b": 1}, rel=0.05)
    dora = build(layer, shapes | {"dora_scale": (400, 1)}, 1.0)
    dora.initialise(torch.Generator().manual_seed(0))
    lengths = layer.weight.detach().norm(dim=1, keepdim=True)
    assert torch.allclose(dora.tensors["dora_scale"], lengths, rtol=1e-5)
