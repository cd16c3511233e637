"""Which LoRA is the best by the loss on held-out pictures."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tehon.runs.judge import best_measurement, checkpoints, stale
from tehon.runs.layout import RunDirectory
from tehon.runs.record import append_rows


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Three epochs of ten steps, the last cut short, with LoRAs by epochs and by steps."""
    run = RunDirectory(tmp_path)
    run.make()
    append_rows(run.metrics, [{"step": step, "epoch": -(-step // 10), "loss": 1.0} for step in range(1, 26)])
    for name in ("m-000001", "m-000002", "m-step00000014", "m"):
        (run.weights / f"{name}.safetensors").touch()
    return run


def measure(run: RunDirectory, losses: dict[int, float]) -> None:
    append_rows(run.metrics, [{"step": s, "epoch": -(-s // 10), "validation_loss": loss} for s, loss in losses.items()])


def test_the_names_of_kohya_say_which_step_a_file_is_of(run: RunDirectory) -> None:
    assert {step: file.stem for step, file in checkpoints(run).items()} == {
        10: "m-000001",
        14: "m-step00000014",
        20: "m-000002",
        25: "m",
    }


def test_the_metadata_of_a_file_say_its_step_whatever_its_name(run: RunDirectory) -> None:
    (run.weights / "m.safetensors").unlink()
    for name, step in (("m-000001", 12), ("m-step00000014", 14), ("m-202411", 25)):
        save_file({"a": np.zeros(1)}, run.weights / f"{name}.safetensors", {"ss_steps": str(step)})
    assert {step: file.stem for step, file in checkpoints(run).items()} == {
        12: "m-000001",
        14: "m-step00000014",
        20: "m-000002",
        25: "m-202411",
    }


def test_the_lowest_loss_names_its_lora_or_the_nearest(run: RunDirectory) -> None:
    assert best_measurement(run) is None
    measure(run, {10: 0.3, 20: 0.2, 25: 0.2})
    best = best_measurement(run)
    assert best is not None
    assert (best.step, best.epoch, best.loss, best.lora_step) == (20, 2, 0.2, 20)
    assert best.lora == run.weights / "m-000002.safetensors"
    measure(run, {13: 0.1})
    best = best_measurement(run)
    assert best is not None
    assert (best.step, best.lora_step) == (13, 14)
    for file in run.weights.iterdir():
        file.unlink()
    best = best_measurement(run)
    assert best is not None
    assert best.lora is None


@pytest.mark.parametrize(
    ("losses", "expected"), [([], 0), ([3.0], 0), ([3.0, 2.0], 0), ([2.0, 2.0], 1), ([2, 3, 1, 4, 5.0], 2)]
)
def test_stale_counts_measurements_without_a_lower_loss(losses: list[float], expected: int) -> None:
    assert stale(losses) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_stale_counts_back_to_the_first_lowest(losses: list[float]) -> None:
    assert stale(losses) == len(losses) - 1 - losses.index(min(losses))
