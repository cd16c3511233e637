"""Every optimizer of the catalog on a tiny net: it learns, and its state comes back bit for bit."""

import io
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.optimization import Adafactor

from tehon.adapters.flat import FlatParameters
from tehon.catalog.optimizers import OPTIMIZERS, optimizer_name, optimizer_row
from tehon.messages.problem import Problem
from tehon.planning.rates import Schedule
from tehon.settings.optimizer import ScheduleName
from tehon.training.optimizers import Optimizer, build_optimizer, in_use, leave_out, to_train, try_optimizer, update

pytestmark = pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")

X = torch.randn(64, 24, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].sin()
RATES = {
    "Adafactor": 1e-2,
    "CAME": 1e-2,
    "SGDNesterov": 5e-2,
    "SGDNesterov8bit": 5e-2,
    "SGDScheduleFree": 1.0,
    "RAdamScheduleFree": 2e-2,
}
SLOWLY = {"d0": 3e-3, "growth_rate": 1.05}  # D-Adaptation overshoots here when its first steps tell it a large rate
MORE: dict[str, dict[str, float]] = {
    **dict.fromkeys(["DAdaptation", "DAdaptAdamPreprint", "DAdaptAdam", "DAdaptAdan", "DAdaptAdanIP"], SLOWLY),
    "DAdaptAdaGrad": {"d0": 1e-2},
    "DAdaptSGD": {"d0": 1e-2},
    "DAdaptLion": {"d0": 2e-3},
    "Prodigy": {"d0": 1e-3},
    "ProdigyPlusScheduleFree": {"d0": 1e-3},
}


class Tiny:
    """Two layers whose weights live in a flat buffer, in two groups."""

    def __init__(self, name: str, **arguments: Any) -> None:
        torch.manual_seed(2)
        self.one, self.two = nn.Linear(24, 32), nn.Linear(32, 3)
        self.flat = FlatParameters({"one": [*self.one.parameters()], "two": [*self.two.parameters()]})
        self.optimizer: Optimizer = build_optimizer(name, arguments, self.flat)
        self.rate = RATES.get(name, 1.0 if optimizer_row(name).rate_free else 3e-3)

    def loss(self) -> torch.Tensor:
        return F.mse_loss(self.two(self.one(X).tanh()), Y)

    def train(self, steps: int, schedule: Schedule | None = None, first: int = 0) -> None:
        to_train(self.optimizer)
        for step in range(first, first + steps):
            self.flat.gradients.zero_()
            self.loss().backward()
            rate = self.rate * (schedule.factor(step) if schedule else 1.0)
            update(self.optimizer, {"one": rate, "two": rate})

    def used_loss(self) -> float:
        with in_use(self.optimizer, self.flat):
            return self.loss().item()

    def saved(self) -> dict[str, Any]:
        """All that changes, through a file."""
        buffer = io.BytesIO()
        torch.save({"weights": self.flat.weights, "optimizer": self.optimizer.state_dict()}, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    def restore(self, saved: dict[str, Any]) -> None:
        self.flat.weights.copy_(saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])


SCHEDULES = {
    "constant": Schedule("constant", 20),
    "constant_with_warmup": Schedule("constant_with_warmup", 20, warmup=2),
    "cosine": Schedule("cosine", 20, warmup=2),
    "cosine_with_restarts": Schedule("cosine_with_restarts", 20, warmup=2, cycles=2),
    "linear": Schedule("linear", 20, warmup=2),
    "polynomial": Schedule("polynomial", 20, warmup=2, cycles=2),
    "cosine_with_min_lr": Schedule("cosine_with_min_lr", 20, warmup=2, floor=0.1),
    "inverse_sqrt": Schedule("inverse_sqrt", 20, warmup=2),
    "warmup_stable_decay": Schedule("warmup_stable_decay", 20, warmup=2, decay=5),
    "rex": Schedule("rex", 20, warmup=2),
    "piecewise_constant": Schedule("piecewise_constant", 20, pieces=((10, 1.0), (99, 0.5))),
}


def test_all_schedules_are_crossed() -> None:
    """`adafactor` goes with one optimizer alone, and has a test of its own below."""
    assert {*SCHEDULES, "adafactor"} == set(get_args(ScheduleName))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_falls_in_twenty_steps_and_the_state_survives_a_save(name: str, schedule: str) -> None:
    """Also from a first rate of 0, and stopped in the middle."""
    arguments = MORE.get(name, {})
    straight = Tiny(name, **arguments)
    before = straight.loss().item()
    straight.train(12, SCHEDULES[schedule])
    saved = straight.saved()
    straight.train(8, SCHEDULES[schedule], first=12)
    assert straight.used_loss() < 0.98 * before

    resumed = Tiny(name, **arguments)
    resumed.restore(saved)
    resumed.train(8, SCHEDULES[schedule], first=12)
    assert resumed.used_loss() == straight.used_loss()
    assert torch.equal(resumed.flat.weights, straight.flat.weights)


@pytest.mark.parametrize("name", ["AdamWScheduleFree", "SGDScheduleFree", "ProdigyPlusScheduleFree", "AdamW"])
def test_looking_at_the_weights_to_use_leaves_those_to_train_as_they_were(name: str) -> None:
    tiny = Tiny(name)
    tiny.train(5)
    training = tiny.flat.weights.clone()
    with in_use(tiny.optimizer, tiny.flat):
        assert torch.equal(tiny.flat.weights, training) == (name == "AdamW")
    assert torch.equal(tiny.flat.weights, training)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_left_out_stays_as_it_was_used_and_the_rest_learns_on(name: str) -> None:
    """Neither momentum nor weight decay nor an average moves it; what is known of all weights stays, whichever group is
    left out; and a state from after it comes back."""
    for gone in ("one", "two"):
        tiny = Tiny(name, **MORE.get(name, {}))
        tiny.train(8)
        before = tiny.used_loss()
        with in_use(tiny.optimizer, tiny.flat):
            used = {group: weights.detach().clone() for group, weights in tiny.flat.groups.items()}
        leave_out(tiny.optimizer, tiny.flat, {gone})
        saved = tiny.saved()
        tiny.train(8)
        assert tiny.used_loss() < before
        with in_use(tiny.optimizer, tiny.flat):
            moved = {group: not torch.equal(weights, used[group]) for group, weights in tiny.flat.groups.items()}
        assert moved == {"one": gone != "one", "two": gone != "two"}

        resumed = Tiny(name, **MORE.get(name, {}))
        leave_out(resumed.optimizer, resumed.flat, {gone})
        resumed.restore(saved)
        resumed.train(8)
        assert torch.equal(resumed.flat.weights, tiny.flat.weights)


def test_adafactors_planned_rates_are_its_own() -> None:
    """With the schedule `adafactor` it moves as transformers' does when that finds the rate itself."""
    for slow in (False, True):
        ours, theirs = Tiny("Adafactor"), Tiny("Adafactor")
        groups = [{"params": list(members), "name": group} for group, members in theirs.flat.members.items()]
        theirs.optimizer = Adafactor(groups, relative_step=True, warmup_init=slow)
        ours.rate = 1.0
        ours.train(9, Schedule("adafactor", 9, slow_start=slow))
        for _ in range(9):
            theirs.flat.gradients.zero_()
            theirs.loss().backward()
            theirs.optimizer.step()
        assert torch.allclose(ours.flat.weights, theirs.flat.weights, rtol=1e-6, atol=1e-9)


ELEMENT_WISE = [n for n, row in OPTIMIZERS.items() if row.flat and row.package != "bitsandbytes" and n != "AdamW"]


@pytest.mark.parametrize("name", ELEMENT_WISE)
def test_one_vector_learns_as_its_pieces_do(name: str) -> None:
    """What `flat` promises: the optimizer works on each weight by itself."""
    flat, pieces = Tiny(name), Tiny(name)
    groups = [{"params": list(members), "name": group} for group, members in pieces.flat.members.items()]
    kind: Any = type(flat.optimizer)
    pieces.optimizer = kind(groups, lr=1e-3, **optimizer_row(name).fixed)
    flat.train(12)
    pieces.train(12)
    assert torch.allclose(flat.flat.weights, pieces.flat.weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_argument_that_the_catalog_names_reaches_the_optimizer(name: str) -> None:
    examples = {"number": 0.37, "two numbers": (0.61, 0.93), "three numbers": (0.71, 0.82, 0.93)}
    for argument, kind in optimizer_row(name).arguments.items():
        for value in (True, False) if kind == "switch" else (examples[kind],):
            if name == "Adafactor" and argument in ("relative_step", "warmup_init"):
                continue  # the plan takes these
            optimizer = Tiny(name, **{argument: value}).optimizer
            own = {**vars(optimizer), **vars(getattr(optimizer, "args", object))}
            group = optimizer.param_groups[0]
            held = group.get(argument, own.get(argument))
            if name == "AdamW" and argument == "eps":
                held = own["epsilon"]
            if argument == "d0":
                held = group.get("d0", group["d"])
            if name == "SGDNesterov8bit" and argument == "momentum":
                held = group["betas"][0]
            assert held == value, argument


def test_names_are_found_in_any_case_and_paths_stay() -> None:
    assert optimizer_name("adamw8BIT") == "AdamW8bit"
    assert optimizer_name("torch.optim.NAdam") == "torch.optim.NAdam"
    assert optimizer_name("AdamX") is None
    assert optimizer_name("not a.path") is None


def test_any_class_is_taken_by_its_path() -> None:
    tiny = Tiny("torch.optim.NAdam", betas=(0.8, 0.9))
    before = tiny.loss().item()
    tiny.train(20)
    assert tiny.loss().item() < before
    assert tiny.optimizer.param_groups[1]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_makes_its_step_of_trial(name: str) -> None:
    try_optimizer(name, {}, torch.device("cpu"))


def test_one_that_cannot_make_a_step_is_one_sentence() -> None:
    with pytest.raises(Problem, match=r"torch\.optim\.SparseAdam does not run on cpu \(SparseAdam does not"):
        try_optimizer("torch.optim.SparseAdam", {}, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("torch.optim.NAdam", {"beta": 1}, "does not take beta"),
        ("math.pi", {}, "math.pi"),
        ("builtins.dict", {}, "builtins.dict"),
        ("torch.optim.NAdam", {"betas": (2.0, 3.0)}, "refuses"),
        ("AdamW", {"betas": (0.9, 1.5)}, r"^optimizer.arguments: AdamW refuses its arguments \(betas lie"),
        ("AdamW", {"betas": (-0.1, 0.9)}, "betas lie"),
        ("AdamW", {"eps": -1.0}, "refuses"),
        ("AdamW", {"weight_decay": -5.0}, "refuses"),
        ("nowhere.at.All", {}, "pip install nowhere"),
        ("torch.optim.Nothing", {}, "no class"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(name: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        Tiny(name, **arguments)


UNLIKE = {"PagedAdEMAMix8bit"}  # has no memory of its own on a CPU


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in UNLIKE])
def test_the_catalog_knows_how_much_an_optimizer_remembers(name: str) -> None:
    """Of thin matrices and 1x1 convolutions, as adapters have them."""
    shapes = [(16, 320), (320, 16), (16, 640), (640, 16), (16, 320, 1, 1), (320, 16, 1, 1)] * 2
    flat = FlatParameters({"all": [nn.Parameter(torch.ones(shape)) for shape in shapes]})
    optimizer = build_optimizer(name, {}, flat)
    for _ in range(2):
        flat.gradients.copy_(torch.linspace(-1, 1, len(flat.gradients)))
        optimizer.step()
    seen = sum(tensor.nbytes for tensor in _tensors(optimizer.state))
    assert optimizer_row(name).remembers(shapes) == pytest.approx(seen, rel=0.03)


def _tensors(held: Any) -> list[torch.Tensor]:
    if isinstance(held, torch.Tensor):
        return [held]
    values = held.values() if isinstance(held, dict) else held if isinstance(held, list | tuple) else ()
    return [tensor for value in values for tensor in _tensors(value)]
