from collections.abc import Callable
from typing import Any

import pytest

from tehon.planning.rates import Schedule, warmup_steps


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
    assert warmup_steps("cosine", 10, 1000) == 100
    assert warmup_steps("constant", 10, 1000) == 0
