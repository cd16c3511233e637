"""Number types of networks and adapters: close to what autocast computes, saved and restored bit for bit, and said
beforehand where they cannot be."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tehon.adapters.flat import FlatParameters
from tehon.adapters.lora import Lora
from tehon.catalog.header import read_header
from tehon.catalog.optimizers import OPTIMIZERS, optimizer_row
from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.planning.rates import Schedule
from tehon.runs.read import rows, states
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.average import Average
from tehon.training.device import check_device
from tehon.training.optimizers import build_optimizer, in_use, try_optimizer, update
from tehon.training.run import start_run
from tehon.training.scaling import LossScale
from tehon.training.state import State, read_state

Tree = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")


def merged(tree: Tree, **changes: dict[str, Any]) -> Tree:
    return {section: tree.get(section, {}) | changes.get(section, {}) for section in tree | changes}


def trainer_of(tree: Tree, **changes: dict[str, Any]) -> Trainer:
    """With drawn weights in place of the zeros that a LoRA starts with."""
    trainer = assemble(make_plan(validate(merged(tree, **changes))))
    weights = trainer.state.flat.weights
    weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    return trainer


def losses_and_gradients(trainer: Trainer) -> tuple[Tensor, Tensor]:
    epoch, batches = trainer.plan.group(0)
    losses = trainer.step.losses_of(epoch, batches[0])
    losses.sum().backward()
    return losses.detach(), trainer.state.flat.gradients.float()


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


KINDS: dict[str, Tree] = {
    "locon": {"kind": "locon", "conv_rank": 2, "dropout": 0.1, "module_dropout": 0.1},
    "dora": {"dora": True},
    "loha": {"kind": "loha"},
    "lokr": {"kind": "lokr", "factor": 2},
    "ia3": {"kind": "ia3"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_without_autocast_the_numbers_are_those_of_autocast(tree: Tree, kind: str) -> None:
    """torch's own rules for which operation is computed in which type, over the same network in fp32. Both differ from
    fp32 by their rounding; each is as near to it as the other."""
    tree["network"] = KINDS[kind] | ({} if kind == "ia3" else {"rank": 2, "alpha": 1.0})
    exact = losses_and_gradients(trainer_of(tree))
    with torch.autocast("cpu", torch.bfloat16):
        theirs = losses_and_gradients(trainer_of(tree))
    ours = losses_and_gradients(trainer_of(tree, precision={"mixed_precision": "bf16"}))
    assert ours[0] == pytest.approx(theirs[0], rel=0.01)
    assert torch.cosine_similarity(ours[1], theirs[1], 0) > 0.998
    assert 0 < relative(ours[1], exact[1]) < 2 * max(relative(theirs[1], exact[1]), 0.01)


@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_networks_are_narrow_and_adapters_wide_unless_all_is_narrow(tree: Tree, name: str, dtype: torch.dtype) -> None:
    mixed = trainer_of(tree, precision={"mixed_precision": name})
    assert {mixed.parts.unet.dtype, mixed.parts.text_encoder.dtype} == {dtype}
    assert {p.dtype for p in mixed.parts.unet.parameters()} == {dtype}
    assert (mixed.state.flat.weights.dtype, mixed.state.flat.gradients.dtype) == (torch.float32, torch.float32)
    full = trainer_of(tree, precision={"mixed_precision": name, f"full_{name}": True})
    assert (full.state.flat.weights.dtype, full.state.flat.gradients.dtype) == (dtype, dtype)
    assert {t.dtype for layers in full.adapters.values() for a in layers.values() for t in a.tensors.values()} == {
        dtype
    }
    assert (mixed.state.scale is not None) == (name == "fp16")


TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Tiny:
    """A frozen layer in a narrow type with a LoRA on it, whose state is that of a run."""

    def __init__(self, name: str, precision: str, **arguments: Any) -> None:
        dtype = TYPES[precision.removeprefix("full ")]
        torch.manual_seed(2)
        self.x = torch.randn(64, 24)
        layer = nn.Linear(24, 8).requires_grad_(False)
        self.wanted = (self.x @ torch.randn(24, 3) @ torch.randn(3, 8)).sin()
        shapes = {"lora_down.weight": (4, 24), "lora_up.weight": (8, 4)}
        self.lora = Lora(layer.to(dtype), shapes, 4.0)
        self.lora.initialise(torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.lora.up.normal_(0, 0.1, generator=torch.Generator().manual_seed(4))
        self.x = self.x.to(dtype)
        full = dtype if precision.startswith("full") else torch.float32
        flat = FlatParameters({"one": [self.lora.down], "two": [self.lora.up]}, full)
        scale = LossScale(interval=6) if dtype == torch.float16 else None
        average = None if optimizer_row(name).schedule_free else Average(flat.weights, 0.9)
        self.state = State(flat, build_optimizer(name, arguments, flat), scale=scale, average=average)
        self.rate = RATES.get(name, 1.0 if optimizer_row(name).rate_free else 1e-2)

    def loss(self) -> Tensor:
        return F.mse_loss(self.lora.forward(self.x).float(), self.wanted)

    def train(self, steps: int, schedule: Schedule) -> None:
        state = self.state
        for _ in range(steps):
            state.flat.gradients.zero_()
            factor = state.scale.factor if state.scale else 1.0
            (self.loss() * factor).backward()
            state.flat.gradients.div_(factor)
            if state.scale is None or state.scale.settle(bool(state.flat.clip(0).isfinite())):
                rate = self.rate * schedule.factor(state.step)
                update(state.optimizer, {"one": rate, "two": rate})
            state.step += 1
            if state.average is not None:
                state.average.follow(state.flat.weights, state.step)

    def used_loss(self) -> float:
        with in_use(self.state.optimizer, self.state.flat):
            return self.loss().item()

    def saved(self) -> dict[str, Any]:
        buffer = io.BytesIO()
        torch.save(self.state.state_dict(), buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)


def refusal(name: str, precision: str) -> str | None:
    dtype = TYPES[precision.removeprefix("full ")] if precision.startswith("full") else torch.float32
    try:
        try_optimizer(name, MORE.get(name, {}), torch.device("cpu"), dtype)
    except Problem as problem:
        return problem.key
    return None


RATES = {
    "RAdamScheduleFree": 0.1,
    "SGDNesterov": 0.1,
    "SGDNesterov8bit": 0.1,
    "SGDScheduleFree": 1.0,
    "CAME": 2e-2,
    "Adafactor": 3e-2,
}
SLOWLY = {"d0": 1e-2, "growth_rate": 1.05}
MORE: dict[str, dict[str, float]] = {
    **{name: SLOWLY for name, row in OPTIMIZERS.items() if "growth_rate" in row.arguments and "d0" in row.arguments},
    "DAdaptAdaGrad": {"d0": 1e-2},
    "DAdaptSGD": {"d0": 1e-4},
    "DAdaptLion": {"d0": 5e-3},
    "Prodigy": {"d0": 1e-2},
    "ProdigyPlusScheduleFree": {"d0": 1e-2},
}
STEEPER = {"DAdaptSGD": {"d0": 5e-4}}  # with a rate that falls; with one that stays it leaps away from there
SCHEDULES = {"constant": Schedule("constant", 20), "cosine": Schedule("cosine", 20, warmup=2)}


@pytest.mark.parametrize("precision", ["fp16", "bf16", "full fp16", "full bf16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_in_every_precision_the_loss_falls_and_the_state_survives_a_save(name: str, precision: str) -> None:
    """Or the optimizer is refused before the start: that happens with weights of 16 bits alone."""
    if refusal(name, precision) is not None:
        assert precision.startswith("full")
        assert refusal(name, precision) in ("optimizer_overflows", "optimizer_device")
        return
    for label, schedule in SCHEDULES.items():
        arguments = MORE.get(name, {}) | (STEEPER.get(name, {}) if label == "cosine" else {})
        straight, resumed = Tiny(name, precision, **arguments), Tiny(name, precision, **arguments)
        before = straight.loss().item()
        straight.train(12, schedule)
        saved = straight.saved()
        straight.train(8, schedule)
        assert straight.used_loss() < 0.99 * before
        resumed.state.load_state_dict(saved)
        resumed.train(8, schedule)
        one, other = resumed.saved(), straight.saved()
        assert torch.equal(one["weights"], other["weights"])
        assert one.get("scale") == other.get("scale")
        assert resumed.used_loss() == straight.used_loss()
        if "average" in one:
            assert torch.equal(one["average"], other["average"])


def test_optimizers_whose_smallest_numbers_are_lost_in_fp16_are_refused() -> None:
    """Those that divide by a root of fp16 squares, or find their rate from sums in it."""
    found = {(n, p) for n in OPTIMIZERS for p in ("full fp16", "full bf16") if refusal(n, p) is not None}
    adapting = {f"DAdapt{end}" for end in ("Adam", "AdamPreprint", "Adan", "AdanIP", "SGD", "ation")}
    others = {"AdamWScheduleFree", "RAdamScheduleFree", "CAME", "Prodigy", "ProdigyPlusScheduleFree"}
    assert found == {(name, "full fp16") for name in adapting | others}
    with pytest.raises(
        Problem, match=r"with weights in float16 CAME makes numbers that are not finite; choose AdamW or"
    ):
        try_optimizer("CAME", {}, torch.device("cpu"), torch.float16)


def test_the_loss_scale_follows_torchs_own_rule() -> None:
    theirs: Any = torch.amp.GradScaler("cpu", growth_interval=5)  # type: ignore[attr-defined]
    ours = LossScale(interval=5)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    kinds = "..x.....xx......x...."
    for kind in kinds:
        theirs.scale(torch.zeros(1))
        weight.grad = torch.tensor([float("inf") if kind == "x" else 0.0])
        theirs.step(optimizer)
        theirs.update()
        assert ours.settle(kind == ".") == (kind == ".")
        assert ours.factor == theirs.get_scale()
    assert ours.skipped == kinds.count("x")


def test_what_is_not_finite_at_the_smallest_scale_is_no_matter_of_scale() -> None:
    scale = LossScale(factor=2.0)
    assert [scale.settle(False), scale.settle(False)] == [False, True]
    assert (scale.factor, scale.skipped) == (1.0, 1)


def test_steps_with_gradients_too_large_for_fp16_are_skipped_counted_and_said(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on, its rows say so, and the count outlives a resume with the state."""
    monkeypatch.setattr(LossScale.__init__, "__defaults__", (2.0**34, 0, 0, 2000))
    told: list[str] = []
    tree["training"]["epochs"] = 8
    tree["precision"] = {"mixed_precision": "fp16", "full_fp16": True}
    outcome = start_run(make_plan(validate(tree)), lambda name, facts: told.append(str(facts.get("text", ""))))
    table = rows(outcome.run.metrics)
    skipped = [row["step"] for row in table if row.get("skipped")]
    assert len(skipped) > 2
    assert all(("gradient_norm" in row) != (row["step"] in skipped) for row in table)
    assert skipped[:3] == [1, 2, 3], "the scale falls until the gradients fit"
    saved = read_state(states(outcome.run)[0])["scale"]
    assert (saved["factor"], saved["skipped"]) == (2.0 ** (34 - len(skipped)), len(skipped))
    assert any(text.startswith(f"{len(skipped)} of {outcome.steps} steps were skipped") for text in told)
    assert any(text.startswith("fp16 saves memory on a CPU") for text in told)


def test_what_flowed_in_a_skipped_step_has_no_part_in_the_order_of_ranks(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale.__init__, "__defaults__", (2.0**34, 0, 0, 2000))
    tree["training"]["epochs"] = 8
    network, precision = {"kind": "dylora", "rank": 4}, {"mixed_precision": "fp16"}
    trainer = assemble(make_plan(validate(merged(tree, network=network, precision=precision))))
    flows = [tensor for name, tensor in trainer.state.kept.items() if name.endswith(".flow")]
    skipped = 0
    for report in trainer.updates():
        assert all(bool(flow.any()) != report.skipped for flow in flows)
        if not report.skipped:
            break
        skipped += 1
    assert skipped > 2


def test_the_file_says_how_it_was_trained(tree: Tree) -> None:
    plain = read_header(start_run(make_plan(validate(tree)), print).lora or Path()).metadata
    tree["output"]["name"] = "other"
    precision = {"mixed_precision": "fp16", "full_fp16": True}
    tree |= {"precision": precision, "memory": {"gradient_checkpointing": "large"}}
    other = read_header(start_run(make_plan(validate(tree)), print).lora or Path()).metadata
    names = ("ss_mixed_precision", "ss_full_fp16", "ss_gradient_checkpointing", "ss_lowram")
    assert [plain[name] for name in names] == ["no", "False", "False", "False"]
    assert [other[name] for name in names] == ["fp16", "True", "True", "False"]


def test_a_type_that_the_device_lacks_is_said_before_the_start(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*inputs: Any) -> Any:
        raise RuntimeError("\"silu\" not implemented for 'Half'")

    monkeypatch.setattr(F, "scaled_dot_product_attention", lacking)
    with pytest.raises(Problem, match=r"precision.mixed_precision: fp16 does not work on cpu here \(.*not implemented"):
        start_run(make_plan(validate(merged(tree, precision={"mixed_precision": "fp16"}))), print)
    assert not Path(tree["output"]["folder"]).exists()
    check_device(torch.device("cpu"), torch.float32, "sdpa")


@pytest.mark.parametrize(
    ("precision", "sentence"),
    [
        ({"full_fp16": True}, "precision.full_fp16: .* set precision.mixed_precision to fp16, or this to false"),
        ({"full_fp16": True, "mixed_precision": "bf16"}, "precision.full_fp16: .* to fp16"),
        ({"full_bf16": True, "mixed_precision": "fp16"}, "precision.full_bf16: .* to bf16"),
    ],
)
def test_a_narrow_adapter_on_wide_networks_is_refused(tree: Tree, precision: Tree, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        make_plan(validate(merged(tree, precision=precision)))
