import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.optimization import get_piecewise_constant_schedule
from transformers import get_scheduler

from tehon.planning.rates import Schedule, warmup_steps
from tehon.settings.schedule_rules import read_pieces


@pytest.mark.parametrize("number", range(29))
def test_rates_are_those_of_sd_scripts(golden: Callable[[str], Any], number: int) -> None:
    row = golden("schedules")[number]
    schedule = Schedule(
        row["scheduler"], row["total_steps"], row["warmup_steps"], row["num_cycles"], row["power"], row["base_lr"]
    )
    rates = [row["base_lr"] * schedule.factor(step) for step in range(len(row["lr"]))]
    assert rates == pytest.approx(row["lr"], rel=1e-6, abs=1e-12)


def test_polynomial_starts_again_with_each_cycle() -> None:
    """Here tehon does what the setting says; sd-scripts ignores the cycles."""
    schedule = Schedule("polynomial", total=100, cycles=2)
    assert schedule.factor(0) == schedule.factor(50) == 1.0
    assert schedule.factor(49) == pytest.approx(schedule.factor(99))


def test_power_bends_polynomial() -> None:
    assert Schedule("polynomial", 100, power=2.0).factor(50) == pytest.approx(0.25, abs=1e-3)


def test_warmup_is_a_percentage_and_constant_has_none() -> None:
    assert warmup_steps("cosine", 10, 0, 1000) == 100
    assert warmup_steps("constant", 10, 0, 1000) == 0


def test_warmup_in_steps_goes_before_the_percentage() -> None:
    assert warmup_steps("cosine", 10, 7, 1000) == 7
    assert warmup_steps("constant", 10, 7, 1000) == 0


def theirs(name: str, total: int, **arguments: Any) -> list[float]:
    """The rates of transformers' scheduler of that name for the base rate 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimizer, num_training_steps=total, **arguments)
    rates: list[float] = []
    for _ in range(total):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize(
    ("ours", "name", "arguments"),
    [
        ({"floor": 0.2}, "cosine_with_min_lr", {"min_lr_rate": 0.2}),
        ({"timescale": 30}, "inverse_sqrt", {"timescale": 30}),
        ({}, "inverse_sqrt", {}),
        (
            {"decay": 25, "floor": 0.1},
            "warmup_stable_decay",
            {"num_decay_steps": 25, "min_lr_ratio": 0.1},
        ),
    ],
)
def test_newer_schedules_are_those_of_transformers(
    ours: dict[str, Any], name: str, arguments: dict[str, Any], warmup: int
) -> None:
    schedule = Schedule(name, 100, warmup, **ours)
    wanted = theirs(name, 100, num_warmup_steps=warmup, scheduler_specific_kwargs=arguments)
    found = [schedule.factor(step) for step in range(100)]
    assert found[:warmup] == pytest.approx([step / 10 for step in range(warmup)])  # theirs climb from the floor
    assert found[warmup:] == pytest.approx(wanted[warmup:], abs=1e-9)


def test_min_lr_cosine_starts_again_with_each_cycle_and_never_goes_below() -> None:
    schedule = Schedule("cosine_with_min_lr", 100, cycles=2, floor=0.3)
    factors = [schedule.factor(step) for step in range(101)]
    assert factors[0] == factors[50] == 1.0
    assert min(factors) == factors[100] == pytest.approx(0.3)


def test_each_cycle_of_polynomial_is_one_of_transformers() -> None:
    schedule = Schedule("polynomial", 90, cycles=3, power=2.0, base=1.0)
    one = theirs("polynomial", 30, num_warmup_steps=0, scheduler_specific_kwargs={"power": 2.0})
    assert [schedule.factor(step) for step in range(90)] == pytest.approx(one * 3, abs=1e-9)


def test_rex_is_its_formula() -> None:
    schedule = Schedule("rex", 110, warmup=10)
    assert schedule.factor(5) == 0.5
    assert schedule.factor(10) == 1.0
    assert schedule.factor(60) == pytest.approx(0.5 / (0.5 + 0.5 * 0.5))
    assert schedule.factor(110) == 0.0


def test_pieces_hold_up_to_their_step() -> None:
    schedule = Schedule("piecewise_constant", 100, pieces=read_pieces("1:30, 0.1:60,0.01"))
    assert [schedule.factor(step) for step in (0, 29, 30, 59, 60, 99)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert read_pieces("0.5") == ((math.inf, 0.5),)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    diffusers = get_piecewise_constant_schedule(optimizer, "1:30,0.1:60,0.01").lr_lambdas[0]
    assert [schedule.factor(step) for step in range(100)] == [diffusers(step) for step in range(100)]


@pytest.mark.parametrize("rule", ["", "1:2:3,1", "1:x,1", "one", "1:30,0.5:20,0.1", "-1", "1:30"])
def test_a_rule_that_is_none_is_an_error(rule: str) -> None:
    with pytest.raises(ValueError, match=r"rule|rise"):
        read_pieces(rule)
