"""Parts left out at random, as a function of sample, step and layer; DyLoRA's drawn ranks; the limit on norms."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tehon.adapters.adapter import Adapter, attach, detach
from tehon.adapters.chance import Chance, Moment
from tehon.adapters.kinds import Training, build
from tehon.adapters.restraint import Restraint, limit_norms

LORA = {"lora_down.weight": (8, 16), "lora_up.weight": (16, 8)}
LOHA = {f"hada_w{n}_{s}": (16, 8) if s == "a" else (8, 16) for n in (1, 2) for s in "ab"}
LOKR = {"lokr_w1": (4, 4), "lokr_w2_a": (4, 1), "lokr_w2_b": (1, 4)}
DORA = LORA | {"dora_scale": (16, 1)}
CONV = {"lora_down.weight": (8, 16, 3, 3), "lora_up.weight": (16, 8, 1, 1)}
LOKR_CONV = {"lokr_w1": (4, 4), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4 * 9)}
SAMPLES = torch.tensor([101, 202, 303])


Shapes = dict[str, tuple[int, ...]]


def made(shapes: Shapes, training: Training | None = None, **shares: float) -> tuple[Adapter, Moment]:
    torch.manual_seed(0)
    moment = Moment()
    convolves = shapes in (CONV, LOKR_CONV)
    layer = nn.Conv2d(16, 16, 3, padding=1) if convolves else nn.Linear(16, 16)
    restraint = Restraint(Chance(moment, "layer"), **shares)
    adapter = build(layer.requires_grad_(False), shapes, 8.0, restraint, training)
    adapter.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for tensor in adapter.tensors.values():
            tensor.add_(0.3 * torch.randn(tensor.shape))
    attach(adapter)
    return adapter, moment


def seen(adapter: Adapter, moment: Moment, samples: Tensor, step: int = 5, seed: int = 9) -> Tensor:
    """The layer's output for one input per sample, each its own."""
    rows = []
    for sample in samples.tolist():
        generator = torch.Generator().manual_seed(seed + sample)
        shape = (16, 6, 6) if isinstance(adapter.layer, nn.Conv2d) else (7, 16)
        rows.append(torch.randn(shape, generator=generator))
    moment.begin(step, samples)
    y = adapter.layer(torch.stack(rows))
    moment.end()
    return y


DROPS = [
    (LORA, {"dropout": 0.5}),
    (LORA, {"rank_dropout": 0.5}),
    (LORA, {"module_dropout": 0.5}),
    (CONV, {"dropout": 0.5}),
    (CONV, {"rank_dropout": 0.5}),
    (CONV, {"module_dropout": 0.5}),
    (DORA, {"dropout": 0.5}),
    (DORA, {"rank_dropout": 0.5}),
    (DORA, {"module_dropout": 0.5}),
    (LOHA, {"rank_dropout": 0.5}),
    (LOHA, {"module_dropout": 0.5}),
    (LOKR, {"dropout": 0.5}),
    (LOKR_CONV, {"dropout": 0.5}),
    (LOKR_CONV, {"rank_dropout": 0.5}),
    (LOKR, {"module_dropout": 0.5}),
]
drops = pytest.mark.parametrize(("shapes", "shares"), DROPS)


@drops
def test_a_dropout_changes_the_output_in_training_only(shapes: Shapes, shares: dict[str, float]) -> None:
    adapter, moment = made(shapes, **shares)
    free, _ = made(shapes)
    x = torch.randn(3, 16, 6, 6) if isinstance(adapter.layer, nn.Conv2d) else torch.randn(3, 7, 16)
    assert torch.equal(adapter.layer(x), free.layer(x)), "outside of training nothing is drawn"
    moment.begin(5, SAMPLES)
    assert not torch.allclose(adapter.layer(x), free.layer(x), atol=1e-3)


@drops
def test_what_is_drawn_does_not_depend_on_the_batch(shapes: Shapes, shares: dict[str, float]) -> None:
    adapter, moment = made(shapes, **shares)
    together = seen(adapter, moment, SAMPLES)
    turned = seen(adapter, moment, SAMPLES.flip(0)).flip(0)
    alone = torch.cat([seen(adapter, moment, SAMPLES[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, turned, atol=1e-5)
    assert torch.allclose(together, alone, atol=1e-5)


@drops
def test_global_random_numbers_are_neither_read_nor_drawn(shapes: Shapes, shares: dict[str, float]) -> None:
    adapter, moment = made(shapes, **shares)
    torch.manual_seed(1)
    first, state = seen(adapter, moment, SAMPLES), torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(seen(adapter, moment, SAMPLES), first)


@drops
def test_gradient_checkpointing_computes_the_same_again(shapes: Shapes, shares: dict[str, float]) -> None:
    adapter, moment = made(shapes, **shares)
    x = torch.randn(3, 16, 6, 6) if isinstance(adapter.layer, nn.Conv2d) else torch.randn(3, 7, 16)
    parameters = list(adapter.tensors.values())
    moment.begin(5, SAMPLES)
    plain = torch.autograd.grad(adapter.layer(x).square().sum(), parameters, allow_unused=True)
    y = checkpoint(adapter.layer, x, use_reentrant=False)
    again = torch.autograd.grad(y.square().sum(), parameters, allow_unused=True)
    for one, other in zip(plain, again, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_dropout_and_rank_dropout_keep_the_mean_and_a_dropped_module_is_gone() -> None:
    x = torch.randn(1, 16)
    samples = torch.arange(4000)
    for name, share in (("dropout", 0.3), ("rank_dropout", 0.3), ("module_dropout", 0.3)):
        adapter, moment = made(LORA, **{name: share})
        detach(adapter)
        base = adapter.layer(x)
        attach(adapter)
        full = adapter.layer(x) - base
        moment.begin(1, samples)
        change = adapter.layer(x.expand(4000, -1)) - base
        wanted = 1 - share if name == "module_dropout" else 1.0
        assert (change.mean(0) @ full[0] / full.square().sum()).item() == pytest.approx(wanted, abs=0.04)
        gone = (change.abs().amax(1) < 1e-6).float().mean().item()
        assert gone == pytest.approx(share if name == "module_dropout" else 0, abs=0.03)


def test_rank_dropout_leaves_out_ranks_and_not_outputs() -> None:
    """With one rank kept, what a sample gets lies along that rank's column of B."""
    adapter, moment = made(LORA, rank_dropout=0.6)
    detach(adapter)
    x = torch.randn(200, 16)
    base = adapter.layer(x)
    attach(adapter)
    moment.begin(1, torch.arange(200))
    change = (adapter.layer(x) - base).detach().double()
    up = adapter.tensors["lora_up.weight"].detach().double()
    weights = torch.linalg.lstsq(up, change.T).solution.T  # of each rank, for each sample
    kept = (weights.abs() > 1e-5).float().mean().item()
    assert kept == pytest.approx(0.4, abs=0.05)
    assert torch.allclose(weights @ up.T, change, atol=1e-5)


def test_numbers_are_uniform_and_differ_by_layer_purpose_sample_and_place() -> None:
    moment = Moment()
    one, other = Chance(moment, "one"), Chance(moment, "other")
    moment.begin(3, torch.tensor([1, 2**62 + 5]))
    drawn = one.uniform("dropout", 2, 50_000)
    assert drawn.shape == (2, 50_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.005)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.002)
    counts = torch.histc(drawn[0], 20, 0, 1)
    assert (counts - 2500).abs().max() < 300
    others = (one.uniform("rank", 2, 50_000), other.uniform("dropout", 2, 50_000), drawn.flip(0), drawn.roll(1, 1))
    for another in others:
        assert torch.corrcoef(torch.stack([drawn.flatten(), another.flatten()]))[0, 1].abs() < 0.02
    assert torch.equal(one.uniform("dropout", 2, 7), drawn[:, :7]), "a place has its number whatever the size"
    several = one.uniform("dropout", 4, 100)  # two rows for each sample, as with long captions
    assert len({tuple(row) for row in several.tolist()}) == 4


def test_the_mixing_is_splitmix64() -> None:
    """The first outputs for the seed 1234567, as published with the generator (Vigna,
    prng.di.unimi.it/splitmix64.c)."""
    from tehon.adapters.chance import _GOLDEN, _mixed, _signed

    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = torch.tensor([_signed((1234567 + n * _GOLDEN) & (2**64 - 1)) for n in range(1, 5)])
    assert [value & (2**64 - 1) for value in _mixed(states).tolist()] == published


@pytest.mark.parametrize("shapes", [LORA, LOHA, LOKR, CONV])
def test_norms_are_limited_and_the_direction_stays(shapes: Shapes) -> None:
    adapter, _ = made(shapes)
    before = adapter.delta().detach()
    norm = before.norm()
    small, _ = made(shapes)
    with torch.no_grad():
        small.factors()[0].mul_(0.01)
    kept = {name: tensor.detach().clone() for name, tensor in small.tensors.items()}
    report = limit_norms([adapter, small], float(norm / 3))
    assert float(adapter.delta().norm()) == pytest.approx(float(norm / 3), rel=1e-4)
    assert torch.allclose(adapter.delta() * 3, before, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(small.tensors[name], tensor) for name, tensor in kept.items()), "below the limit"
    assert report.scaled == 1
    assert report.largest == pytest.approx(float(norm / 3), rel=1e-4)
    assert report.mean == pytest.approx(float(norm / 3 + norm / 100) / 2, rel=1e-3)


def test_norms_are_spread_evenly_as_sd_scripts_does() -> None:
    """sd-scripts multiplies up and down by √ratio each (networks/lora.py, apply_max_norm_regularization)."""
    adapter, _ = made(LORA)
    before = {name: tensor.detach().clone() for name, tensor in adapter.tensors.items()}
    ratio = 1 / adapter.delta().norm()
    limit_norms([adapter], 1.0)
    for name, tensor in adapter.tensors.items():
        assert torch.allclose(tensor, before[name] * ratio.sqrt(), rtol=1e-5)
