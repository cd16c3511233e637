"""DyLoRA: which ranks are drawn and in use, their order, and that it is worth it."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tehon.adapters.adapter import Adapter, attach, detach, in_file, run
from tehon.adapters.chance import Chance, Moment
from tehon.adapters.dylora import DyLora, share_used, sorts_after
from tehon.adapters.flow import Flow
from tehon.adapters.kinds import Training, build
from tehon.adapters.restraint import Restraint
from tehon.surgery.cut import cut_ranks

SAMPLES = torch.tensor([11, 12, 13])
SHAPES = {"lora_down.weight": (8, 16), "lora_up.weight": (12, 8)}


def made(unit: int) -> tuple[DyLora, Moment]:
    """With random numbers, attached; alpha / rank is 1."""
    torch.manual_seed(2)
    moment = Moment()
    layer = nn.Linear(16, 12).requires_grad_(False)
    adapter = build(layer, SHAPES, 8.0, Restraint(Chance(moment, "x")), Training(unit=unit))
    assert isinstance(adapter, DyLora)
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.copy_(torch.randn(tensor.shape))
    attach(adapter)
    return adapter, moment


def best_of(change: Tensor, rank: int) -> Tensor:
    """The nearest matrix of a rank, by numpy's own singular value decomposition in float64."""
    u, s, v = torch.linalg.svd(change.double(), full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ v[:rank]).float()


def test_the_ranks_drawn_are_the_best_of_the_moment_they_were_sorted() -> None:
    adapter, moment = made(unit=2)
    x, change = torch.randn(3, 16), adapter.delta().detach()
    whole = adapter.layer(x)
    before = {name: tensor.detach().clone() for name, tensor in adapter.tensors.items()}
    adapter.sort()
    assert torch.equal(adapter.layer(x), whole), "outside of training all ranks are used, untouched"
    assert all(torch.equal(adapter.tensors[name], tensor) for name, tensor in before.items())
    detach(adapter)
    base = adapter.layer(x)
    attach(adapter)
    for share, used in ((0.01, 2), (0.25, 2), (0.3, 4), (0.6, 6), (0.75, 6), (0.9, 8)):
        moment.begin(1, SAMPLES, share=share)
        assert adapter.drawn_rank() == used
        assert torch.allclose(adapter.layer(x), base + x @ best_of(change, used).T, atol=1e-4)
    moment.begin(1, SAMPLES)
    assert adapter.drawn_rank() == 8
    assert torch.equal(adapter.layer(x), whole)


def test_every_number_learns_from_a_small_rank_and_again_the_same() -> None:
    adapter, moment = made(unit=1)
    adapter.sort()
    x = torch.randn(3, 16)
    moment.begin(1, SAMPLES, share=3 / 8)
    tensors = list(adapter.tensors.values())
    gradients = torch.autograd.grad(adapter.layer(x).square().sum(), tensors)
    assert all((gradient != 0).all() for gradient in gradients)
    assert [int(torch.linalg.matrix_rank(gradient)) for gradient in gradients] == [3, 3]
    y = checkpoint(adapter.layer, x, use_reentrant=False)
    again = torch.autograd.grad(y.square().sum(), tensors)
    assert all(torch.equal(one, other) for one, other in zip(gradients, again, strict=True))


def test_a_file_is_sorted_and_balanced_and_loses_no_rank() -> None:
    adapter, _ = made(unit=1)
    with torch.no_grad():
        adapter.tensors["lora_up.weight"][:, 3:5] = 0
    held = in_file(adapter)
    down, up = held["lora_down.weight"], held["lora_up.weight"]
    assert torch.allclose(up @ down, adapter.delta(), atol=1e-4)
    s = torch.linalg.svdvals(adapter.delta().double()).float()
    assert torch.allclose(up.norm(dim=0)[:6], s[:6].sqrt(), rtol=1e-3)
    assert torch.allclose(down.norm(dim=1)[:6], s[:6].sqrt(), rtol=1e-3)
    assert up.norm(dim=0)[6:].max() < 1e-5 * up.norm()
    assert torch.allclose(down.norm(dim=1)[6:], (s[0] * 1e-3).sqrt(), rtol=1e-2), "it can learn again"
    for rank in range(1, 7):
        cut = cut_ranks({"x": held}, rank)["x"]
        change = cut["lora_up.weight"] @ cut["lora_down.weight"] * (float(cut["alpha"]) / rank)
        assert torch.allclose(change, best_of(adapter.delta(), rank), atol=1e-4)


@pytest.mark.parametrize("name", ["lora_down.weight", "lora_up.weight"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.0])
def test_what_cannot_be_sorted_stays_in_its_order(name: str, wrong: float) -> None:
    adapter, _ = made(unit=1)
    with torch.no_grad():
        adapter.tensors[name].fill_(wrong)
    adapter.sort()
    assert torch.equal(adapter.order, torch.eye(8).repeat(2, 1, 1))
    held = in_file(adapter)
    assert all(torch.equal(held[key].nan_to_num(), tensor.nan_to_num()) for key, tensor in adapter.tensors.items())


def test_more_ranks_than_dimensions_can_be_sorted_and_written() -> None:
    layer = nn.Linear(3, 9).requires_grad_(False)
    adapter = build(layer, {"lora_down.weight": (8, 3), "lora_up.weight": (9, 8)}, 8.0, training=Training(unit=1))
    assert isinstance(adapter, DyLora)
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.copy_(torch.randn(tensor.shape))
    change = adapter.delta()
    adapter.sort()
    into, back = adapter.order
    assert torch.allclose(into @ back, torch.eye(8), atol=1e-3)
    held = in_file(adapter)
    down, up = held["lora_down.weight"], held["lora_up.weight"]
    assert torch.allclose(up @ down, change, atol=1e-3)
    assert torch.allclose(up[:, :2] @ down[:2], best_of(change, 2), atol=1e-3)


def test_ranks_are_sorted_after_every_tenth_and_before_the_first_update_that_draws() -> None:
    assert [step for step in range(201) if sorts_after(step, 200)] == [20, 40, 60, 80, 100, 120, 140, 160, 180]
    for steps in range(1, 60):
        drawing = [step for step in range(steps) if share_used(step, steps) < 1]
        assert steps - 1 not in drawing, "the last update uses all"
        assert all(any(sorts_after(before, steps) for before in range(1, step + 1)) for step in drawing)


def test_ranks_are_drawn_in_the_ninth_tenth_each_as_often() -> None:
    steps = 6400
    shares = [share_used(step, steps) for step in range(steps)]
    first, end = steps * 8 // 10, steps * 9 // 10
    between = [share for step, share in enumerate(shares) if not (first <= step < end and (step - first) % 4 == 0)]
    assert set(between) == {1.0}
    drawn = Counter(math.ceil(share * 8) for share in shares[first:end:4])
    assert drawn == pytest.approx(dict.fromkeys(range(1, 9), 20), abs=1)
    assert all(0 < share_used(step, steps) <= 1 for steps in range(1, 60) for step in range(steps))


# ---- what flows through the ranks


def test_the_first_ranks_are_those_that_the_inputs_and_the_loss_need() -> None:
    """Where inputs and the gradients of outputs lie in few directions, a cut leaves less to be desired than the nearest
    matrix of its rank does."""
    adapter, moment = made(unit=1)
    moment.begin(0, torch.arange(64))
    wide, high = 4.0 ** -torch.arange(16), 4.0 ** -torch.arange(12)
    x = torch.randn(64, 16) * wide
    y = adapter.layer(x)
    y.backward(torch.randn_like(y) * high)
    moment.end()
    adapter.flow.settle(made=True)
    held, change = in_file(adapter), adapter.delta().detach()
    assert torch.allclose(held["lora_up.weight"] @ held["lora_down.weight"], change, atol=1e-4)
    for rank in (1, 2, 3, 4, 6):
        cut = cut_ranks({"x": held}, rank)["x"]
        missing = [
            float((((change - kept) * wide).T * high).norm())
            for kept in (
                cut["lora_up.weight"] @ cut["lora_down.weight"] * (float(cut["alpha"]) / rank),
                best_of(change, rank),
            )
        ]
        assert missing[0] < 0.8 * missing[1], (rank, missing)


def flowed(layer: nn.Linear | nn.Conv2d, share: float, *, recomputed: bool = False, plain: bool = False) -> Tensor:
    """What an update of one batch brought, and what it should: h and dh worked out by themselves."""
    torch.manual_seed(3)
    moment, ones = Moment(), (1,) * (layer.weight.dim() - 2)
    shapes = {"lora_down.weight": (8, *layer.weight.shape[1:]), "lora_up.weight": (len(layer.weight), 8, *ones)}
    restraint = Restraint(Chance(moment, "x"), module_dropout=1e-9 if plain else 0.0)
    adapter = build(layer.requires_grad_(False), shapes, 8.0, restraint, Training(unit=1))
    assert isinstance(adapter, DyLora)
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.copy_(torch.randn(tensor.shape))
    attach(adapter)
    x = torch.randn(3, 16) if isinstance(layer, nn.Linear) else torch.randn(3, 16, 6, 6)
    moment.begin(1, SAMPLES, share=share)
    y = checkpoint(adapter.layer, x, use_reentrant=False) if recomputed else adapter.layer(x)
    y.sum().backward()
    detach(adapter)
    with torch.no_grad():
        h = run(layer, x, adapter.down)
        h = h if isinstance(layer, nn.Linear) else h.movedim(1, -1).flatten(0, 2)
        dh = torch.ones(len(h), len(layer.weight)) @ adapter.up.flatten(1)
        expected = torch.stack([each.T @ each / each.square().sum() for each in (h, dh)])
    return (adapter.flow.pending - expected).abs().max()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("kind", ["linear", "1x1", "3x3 by 2"])
def test_each_way_of_computing_sees_the_same(kind: str, share: float, recomputed: bool, plain: bool) -> None:
    layers = {"linear": nn.Linear(16, 12), "1x1": nn.Conv2d(16, 12, 1), "3x3 by 2": nn.Conv2d(16, 12, 3, 2, 1)}
    assert flowed(layers[kind], share, recomputed=recomputed, plain=plain) < 1e-6


def test_whether_a_batch_is_seen_was_settled_by_its_forward() -> None:
    adapter, moment = made(unit=1)
    moment.begin(1, SAMPLES)
    y = adapter.layer(torch.randn(3, 16))
    with moment.paused():
        other = adapter.layer(torch.randn(3, 16))
    y.sum().backward()
    seen = adapter.flow.pending.clone()
    other.sum().backward()
    assert seen.any()
    assert torch.equal(adapter.flow.pending, seen)


def test_nothing_is_seen_outside_of_training() -> None:
    adapter, moment = made(unit=1)
    moment.begin(1, SAMPLES)
    adapter.layer(torch.randn(3, 16)).sum().backward()
    before = adapter.flow.pending.clone()
    with moment.paused():
        adapter.layer(torch.randn(3, 16, requires_grad=True)).sum().backward()
    with torch.no_grad():
        adapter.layer(torch.randn(3, 16))
    assert torch.equal(adapter.flow.pending, before)
    assert before.any()


def test_every_batch_counts_alike_and_fades_and_overflow_counts_for_nothing() -> None:
    flow, (h, dh) = Flow(4, torch.device("cpu")), torch.randn(2, 5, 4)
    flow.add(h, dh)
    once = flow.pending.clone()
    flow.add(h, dh * 65536)
    for wrong in (0.0, float("inf"), float("nan")):
        flow.add(torch.full((5, 4), wrong), torch.full((5, 4), wrong))
    assert torch.allclose(flow.pending, 2 * once)
    assert not flow.sums.any(), "the update is not made yet"
    flow.settle(made=True)
    assert torch.allclose(flow.sums, 2 * once)
    flow.settle(made=True)
    assert torch.allclose(flow.sums, 2 * once)
    flow.fade()
    assert torch.allclose(flow.sums, once)


@pytest.mark.parametrize(("wide", "rank"), [(8, 16), (32, 128)])
def test_more_ranks_than_dimensions_can_be_sorted_after_much_has_flowed(wide: int, rank: int) -> None:
    """The sums are float32 and lack the directions that A lacks: rounding must not make them less than nothing."""
    layer = nn.Linear(wide, 32).requires_grad_(False)
    shapes = {"lora_down.weight": (rank, wide), "lora_up.weight": (32, rank)}
    adapter = build(layer, shapes, rank, training=Training(unit=1))
    assert isinstance(adapter, DyLora)
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.copy_(torch.randn(tensor.shape))
        for _ in range(300):
            x = torch.randn(512, wide) + 3
            adapter.flow.add(x @ adapter.down.T, torch.randn(512, 32) @ adapter.up)
            adapter.flow.settle(made=True)
    adapter.sort()
    into, back = adapter.order.double()
    assert torch.allclose(into @ back, torch.eye(rank, dtype=torch.float64), atol=1e-2)
    held = in_file(adapter)
    change = held["lora_up.weight"] @ held["lora_down.weight"]
    assert torch.allclose(change, adapter.delta(), atol=1e-3 * float(adapter.delta().abs().max()))


# ---- against a LoRA cut down afterwards

WIDTH, LAYERS, RANK, STEPS, BATCH = 48, 3, 16, 240, 4


class Chain(nn.Module):
    """A small network whose layers are not independent of each other."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in weights)
        for layer, weight in zip(self.layers, weights, strict=True):
            layer.weight = nn.Parameter(weight.clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


FALL = 0.5


def task(seed: int) -> tuple[Chain, Chain]:
    """A network, and the one it is to become: each change has all its ranks, the k-th k ** -FALL strong."""
    torch.manual_seed(seed)
    weights = [torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(LAYERS)]
    strengths = torch.arange(1, WIDTH + 1) ** -FALL
    turns = [[torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0] for _ in range(2)] for _ in weights]
    changes = [u @ torch.diag(3 * strengths / strengths.norm()) @ v for u, v in turns]
    return Chain(weights), Chain([weight + change for weight, change in zip(weights, changes, strict=True)])


def learned(seed: int, unit: int, rate: float) -> tuple[Chain, Chain, list[Adapter]]:
    """After some steps on noisy examples; `unit` 0 is a LoRA. The same start, examples and steps for both."""
    pupil, master = task(seed)
    moment, adapters = Moment(), list[Adapter]()
    shapes = {"lora_down.weight": (RANK, WIDTH), "lora_up.weight": (WIDTH, RANK)}
    for number, layer in enumerate(pupil.layers):
        assert isinstance(layer, nn.Linear)
        adapter = build(layer, shapes, RANK, Restraint(Chance(moment, str(number))), Training(unit=unit))
        adapter.initialise(torch.Generator().manual_seed(number))
        attach(adapter)
        adapters.append(adapter)
    optimizer = torch.optim.AdamW([t for adapter in adapters for t in adapter.tensors.values()], rate)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / STEPS)) / 2
        moment.begin(step * 7919, torch.arange(BATCH), share=share_used(step, STEPS))
        x, noise = torch.randn(2, BATCH, WIDTH)
        loss = (pupil(x) - master(x) - 0.3 * noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        moment.end()
        for adapter in adapters:
            if isinstance(adapter, DyLora):
                adapter.flow.settle(made=True)
                if sorts_after(step + 1, STEPS):
                    adapter.sort()
    return pupil, master, adapters


def errors(seed: int, unit: int, rate: float) -> dict[int, float]:
    """{rank: error} of what is cut out of the file, or what a LoRA is brought down to by its singular values."""
    pupil, master, adapters = learned(seed, unit, rate)
    x = torch.randn(256, WIDTH, generator=torch.Generator().manual_seed(0))
    found: dict[int, float] = {}
    with torch.no_grad():
        for adapter in adapters:
            detach(adapter)
        for rank in (1, 2, 4, 8, 12, RANK):
            cut = Chain([layer.weight for layer in pupil.layers])  # type: ignore[misc]
            for layer, adapter in zip(cut.layers, adapters, strict=True):
                held = in_file(adapter)
                if unit:
                    held = cut_ranks({"x": held}, rank)["x"] if rank < RANK else held
                    change = held["lora_up.weight"] @ held["lora_down.weight"] * (float(held["alpha"]) / rank)
                else:
                    change = best_of(adapter.delta(), rank)
                layer.weight += change
            found[rank] = float((cut(x) - master(x)).square().mean())
    return found


def test_every_cut_beats_a_lora_cut_down_to_it() -> None:
    """In the mean over three tasks. The LoRA has the best of three rates, by what it learns at its full rank; DyLoRA
    has that same rate. At the full rank nothing is cut off."""
    lora, dylora = dict[int, float](), dict[int, float]()
    for seed in (1, 2, 3):
        tried = {rate: errors(seed, 0, rate) for rate in (5e-3, 1e-2, 2e-2)}
        rate = min(tried, key=lambda rate: tried[rate][RANK])
        assert rate == 1e-2, "neither end of those tried"
        for means, found in ((lora, tried[rate]), (dylora, errors(seed, 1, rate))):
            for rank, error in found.items():
                means[rank] = means.get(rank, 0.0) + error / 3
    assert all(dylora[rank] < lora[rank] for rank in (1, 2, 4, 8, 12)), (dylora, lora)
    assert dylora[RANK] < 1.01 * lora[RANK]
    assert sorted(dylora.values(), reverse=True) == list(dylora.values()), "each further rank helps"
