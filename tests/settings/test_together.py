"""Wrong values, contradictions and remarks are told at once, each in a sentence with its remedy."""

from pathlib import Path
from typing import Any

import pytest

from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.settings.files import to_toml, validate

Tree = dict[str, Any]
FOLDERS: Tree = {"model": {"path": "demo"}, "data": {"folder": "pictures"}, "output": {"folder": "out"}}
WRONG: Tree = {
    "optimizer": {
        "name": "Prodigy",
        "learning_rate": 1.0,
        "text_encoder_lr": 0.5,
        "lr_scheduler": "adafactor",
        "lr_decay": 200.0,
    },
    "objective": {"min_snr_gamma": -5, "logit_mean": 1.0, "noise_offset": -0.1, "adaptive_noise_scale": 0.5},
    "network": {"rank": 8, "alpha": 16.0},
    "precision": {"full_fp16": True},
    "training": {"epoch": 3},
}
SAID = [
    "objective.noise_offset: -0.1 does not fit; give a number, at least 0, at most 1.",
    "objective.min_snr_gamma: -5 does not fit; give a number, at least 0.",
    "optimizer.lr_decay: 200.0 does not fit; give a number, at least 0, at most 100.",
    "training.epoch: there is no such setting; did you mean training.epochs?",
    "optimizer.lr_scheduler: the schedule adafactor is how Adafactor finds its own rates, which Prodigy with these "
    "arguments does not; choose another schedule, or Adafactor without relative_step=False.",
    "optimizer.text_encoder_lr: Prodigy finds one rate for all parts, but the U-Net has 1.0 and the text encoder 0.5; "
    "set both to the same, 1 as a rule, or one of them to 0.",
    "objective.logit_mean: without objective.timestep_sampling logit_normal this has no effect; set that too, or "
    "remove this.",
    "precision.full_fp16: the adapter can't be narrower than what it lies on; set precision.mixed_precision to fp16, "
    "or this to false.",
    "Note: network.alpha 16.0 is above network.rank 8: the LoRA works stronger than its weights; most people mean "
    "alpha at or below the rank.",
]


def sentences(tree: Tree) -> list[str]:
    with pytest.raises(Problem) as caught:
        validate(tree)
    return str(caught.value).splitlines()


def test_wrong_values_contradictions_and_remarks_are_told_at_once() -> None:
    """What goes with `noise_offset` is not judged by another value than the one that was meant."""
    assert sentences(FOLDERS | WRONG) == SAID


def test_the_plan_tells_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(to_toml(validate(FOLDERS)), "utf8")
    given = [(f"--{section}.{name}", value) for section, values in WRONG.items() for name, value in values.items()]
    words = [name if value is True else f"{name}={value}" for name, value in given]
    assert main(["plan", str(file), *words]) == 2
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(SAID)


@pytest.mark.parametrize("missing", ["model", "output", "data"])
def test_a_missing_section_hides_nothing_else(missing: str) -> None:
    tree = {name: values for name, values in FOLDERS.items() if name != missing}
    said = sentences(tree | {"objective": {"logit_mean": 1.0}})
    assert len(said) == 2
    assert "objective.logit_mean: without" in said[1]


def test_what_does_not_fit_the_model_is_told_with_what_is_wrong_with_the_pictures(tmp_path: Path) -> None:
    """And with the network's lists, which are checked against the model's blocks."""
    tree = FOLDERS | {"data": {"folder": str(tmp_path / "nowhere")}, "objective": {"zero_terminal_snr": True}}
    tree |= {"network": {"block_dims": [4, 4], "alpha": 32.0}, "optimizer": {"text_encoder_2_lr": 1e-3}}
    with pytest.raises(Problem) as caught:
        make_plan(validate(tree))
    fields = [str(problem.values["field"]) for problem in caught.value.all]
    assert fields == [
        "optimizer.text_encoder_2_lr",
        "objective.zero_terminal_snr",
        "network.block_dims",
        "data.folder",
    ]
    assert "network.alpha 32.0 is above network.rank" in str(caught.value)
