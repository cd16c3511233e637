"""Names and numbers of the files that a run saves; the rule of what goes is sd-scripts', with its own examples."""

import tracemalloc
from typing import Any

import pytest

from tehon.planning.plan import Plan, make_plan
from tehon.planning.report import as_text
from tehon.planning.saves import (
    count_loras,
    is_name_of,
    lora_names,
    numbers_of,
    outdated_epochs,
    outdated_states,
    outdated_steps,
    planned_loras,
)
from tehon.settings.files import validate

Tree = dict[str, Any]


def planned(tree: Tree, **output: Any) -> Plan:
    return make_plan(validate(tree | {"training": {"seed": 5, "epochs": 10}, "output": tree["output"] | output}))


def test_epochs_10_every_2_saves_2_4_6_8(tree: Tree) -> None:
    names = [file.name for file in planned_loras(planned(tree, save_every_n_epochs=2))]
    assert names == [f"mine-{epoch:06d}.safetensors" for epoch in (2, 4, 6, 8)]


def test_steps_40_every_10_saves_10_20_30(tree: Tree) -> None:
    plan = planned(tree, save_every_n_epochs=0, save_every_n_steps=10)
    assert plan.steps == 40
    assert [(file.step, file.name) for file in planned_loras(plan)] == [
        (step, f"mine-step{step:08d}.safetensors") for step in (10, 20, 30)
    ]
    assert lora_names(plan, 40) == []
    both = planned(tree, save_every_n_epochs=5, save_every_n_steps=20)
    assert lora_names(both, 20) == ["mine-000005.safetensors", "mine-step00000020.safetensors"]


@pytest.mark.parametrize("epochs", [0, 1, 3, 10])
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 40, 50])
def test_as_many_are_counted_as_are_planned(tree: Tree, epochs: int, steps: int) -> None:
    plan = planned(tree, save_every_n_epochs=epochs, save_every_n_steps=steps)
    assert count_loras(plan) == len(list(planned_loras(plan)))


def test_a_plan_of_a_million_epochs_is_told_without_a_list_of_them(tree: Tree) -> None:
    tree |= {"training": {"seed": 5, "epochs": 1_000_000}, "samples": {"prompts": "mofu", "every_n_steps": 1}}
    plan = make_plan(validate(tree))
    tracemalloc.start()
    text = as_text(plan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "4000000" in text
    assert peak < 5_000_000
    assert next(planned_loras(plan)).step == 4


def kept_after_each(every: int, last: int, total: int) -> dict[int, list[int]]:
    there: list[int] = []
    after: dict[int, list[int]] = {}
    for step in range(every, total + 1, every):
        there = [*there, step]
        gone = outdated_steps(there, step, every, last)
        there = [one for one in there if one not in gone]
        after[step] = there
    return after


def test_last_steps_counts_steps_as_in_the_article() -> None:
    after = kept_after_each(100, 300, 600)
    assert after[400] == [100, 200, 300, 400]
    assert after[500] == [200, 300, 400, 500]
    assert after[600] == [300, 400, 500, 600]
    assert kept_after_each(100, 50, 300)[200] == [200]
    assert kept_after_each(100, 0, 300)[300] == [100, 200, 300]


def test_a_file_that_somebody_asked_for_outlives_those_by_steps() -> None:
    assert outdated_steps([100, 123, 200], now=500, every=100, last=100) == [100, 200]
    assert outdated_epochs([1, 2, 4], now=6, every=2, last=1) == [2, 4]


@pytest.mark.parametrize(("every", "last"), [(100, 300), (100, 250), (7, 20), (50, 50), (3, 1)])
def test_as_many_stay_as_sd_scripts_keeps(every: int, last: int) -> None:
    """Its rule: after saving step s, the file of step s - last - 1, lowered to a multiple of `every`, goes."""
    theirs: set[int] = set()
    ours = kept_after_each(every, last, every * 20)
    for step in range(every, every * 20 + 1, every):
        theirs.add(step)
        theirs.discard((step - last - 1) // every * every if step > last else -1)
        assert ours[step] == sorted(theirs)
        assert len(ours[step]) == min(step // every, last // every + 1)


def test_last_epochs_counts_files() -> None:
    assert outdated_epochs([2, 4, 6], now=6, every=2, last=2) == [2]
    assert outdated_epochs([2, 4, 6], now=6, every=2, last=0) == []


def test_the_newest_state_always_stays() -> None:
    assert outdated_states([10, 20, 30], count=2, last=0) == [10]
    assert outdated_states([10, 20, 30], count=0, last=0) == []
    assert outdated_states([10, 20, 30], count=0, last=10) == [10]
    assert outdated_states([10, 20, 30], count=0, last=1) == [20, 10]
    assert outdated_states([], count=2, last=0) == []
    steps = [10, 20, 25, 30]
    assert outdated_states(steps, count=3, last=5) == [10], "what one of the two keeps stays"
    assert outdated_states(steps, count=1, last=10) == [10]


def test_only_names_of_the_run_itself_are_its_own() -> None:
    own = ["mine.safetensors", "mine-000012.safetensors", "mine-step00000120.safetensors"]
    assert all(is_name_of("mine", name) for name in own)
    others = ["mine2.safetensors", "mine-12.safetensors", "mine-000012b.safetensors", "a mine.safetensors"]
    assert not any(is_name_of("mine", name) for name in others)
    assert numbers_of("mine", own + others) == ({12: own[1]}, {120: own[2]})
