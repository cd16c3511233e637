"""How long the training runs: as many steps as with sd-scripts, whichever way its options come.

sd-scripts takes --max_train_epochs times the steps of an epoch, else --max_train_steps, of which its default is 1600;
kohya_ss' Epoch counts only where neither is given. The pictures make four batches an epoch.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tehon.planning.notices import notices_for
from tehon.planning.plan import Plan, make_plan
from tehon.settings.files import validate
from tehon.settings.kohya.carry import Import
from tehon.settings.kohya.export import export
from tehon.settings.kohya.read import bring_text, command_words

Tree = dict[str, Any]


def planned(tree: Tree, **training: Any) -> Plan:
    return make_plan(validate(tree | {"training": tree["training"] | training}))


def of_gui(keys: Tree) -> Import:
    return bring_text(json.dumps({"LoRA_type": "Standard", **keys}), Path("preset.json"))


@pytest.mark.parametrize(
    ("epoch", "epochs", "steps", "expected"),
    [
        (1, 10, 0, 40),
        (20, 2, 0, 8),
        (1, 10, 1600, 40),
        (20, 2, 7, 8),
        (1, 0, 1600, 1600),
        (20, 0, 7, 7),
        (5, 0, 0, 20),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_file_of_kohya_ss(tree: Tree, epoch: int, epochs: int, steps: int, expected: int, backwards: bool) -> None:
    keys = {"epoch": epoch, "max_train_epochs": epochs, "max_train_steps": steps}
    result = of_gui(dict(reversed(keys.items())) if backwards else keys)
    assert planned(tree, **result.tree["training"]).steps == expected
    given = [line for line in result.lines if line.key in keys and line.value]
    assert all(line.outcome.settings or line.reason for line in given)


def test_what_does_not_count_is_told() -> None:
    lines = {line.key: line for line in of_gui({"epoch": 3, "max_train_steps": 1600}).lines}
    assert (lines["epoch"].fate, lines["max_train_steps"].fate) == ("dropped", "changed")
    assert "the number of epochs follows from it" in lines["epoch"].reason
    lines = {line.key: line for line in of_gui({"epoch": 3, "max_train_epochs": 2, "max_train_steps": 9}).lines}
    assert (lines["epoch"].fate, lines["max_train_steps"].fate) == ("dropped", "dropped")


COMMANDS = [
    ("--max_train_epochs=10", 40),
    ("--max_train_steps=7", 7),
    ("--max_train_steps=2000", 2000),
    ("--max_train_epochs=10 --max_train_steps=7", 40),
    ("--max_train_steps=2000 --max_train_epochs=3", 12),
    ("--max_train_epochs=3 --gradient_accumulation_steps=3", 6),
]


@pytest.mark.parametrize(("words", "expected"), [*COMMANDS, ("--seed=1", 1600)])
def test_a_command(tree: Tree, words: str, expected: int) -> None:
    assert planned(tree, **command_words(words.split()).tree["training"]).steps == expected


@pytest.mark.parametrize(("words", "expected"), COMMANDS)
@pytest.mark.parametrize("limits", [{}, {"max_train_steps": 5}, {"max_train_epochs": 2}, {"epochs": 50}])
def test_additional_parameters_win_over_the_settings(
    tree: Tree, words: str, expected: int, limits: dict[str, int]
) -> None:
    assert planned(tree, **limits, additional_parameters=words).steps == expected


@pytest.mark.parametrize(("epochs", "limit", "steps"), [(3, 5, 0), (5, 3, 0), (5, 3, 7)])
def test_a_file_for_kohya_ss_trains_no_more_epochs_than_here(tree: Tree, epochs: int, limit: int, steps: int) -> None:
    training = {"epochs": epochs, "max_train_epochs": limit, "max_train_steps": steps}
    text = export(validate(tree | {"training": training}), "theirs.json").files["theirs.json"]
    back = bring_text(text, Path("theirs.json"))
    assert planned(tree, **back.tree["training"]).steps == planned(tree, **training).steps


def test_a_limit_above_the_epochs_is_noticed(tree: Tree) -> None:
    told = "training.max_train_epochs has no effect: training.epochs is less."
    plan = planned(tree, max_train_epochs=10)
    assert plan.steps == 4
    assert told in list(notices_for(plan))
    assert told not in list(notices_for(planned(tree, epochs=10, max_train_epochs=10)))
