"""What the page reads of a run."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tehon.planning.plan import make_plan
from tehon.runs.layout import RunDirectory
from tehon.runs.record import append_rows, write_json
from tehon.settings.files import to_toml, validate
from tehon.settings.resolve import filled_names
from tehon.web.run_reader import (
    Curves,
    changed_settings,
    files,
    finished_lora,
    given_settings,
    group_label,
    thinned,
    version,
)


def test_groups_of_rates_have_the_names_of_parts() -> None:
    assert group_label("lora_unet") == "U-Net"
    assert group_label("lora_te2 x16") == "Text encoder 2 x16"
    assert group_label("lora_te") == "Text encoder"
    assert group_label("other") == "other"


def test_a_long_curve_keeps_its_ends_and_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    curves = Curves(run)
    assert not curves.read()
    append_rows(run.metrics, [{"step": n, "loss": 1 / n, "rates": {"lora_unet": n}} for n in range(1, 10_001)])
    assert curves.read()
    few = thinned(curves.loss)
    assert (len(few), few[0], few[-1]) == (1001, (1, 1.0), (10_000, 1e-4))
    assert not curves.read()
    append_rows(run.metrics, [{"step": 10_001, "validation_loss": 0.5}])
    assert curves.read()
    assert (len(curves.loss), curves.validation, len(curves.rates["lora_unet"])) == (10_000, [(10_001, 0.5)], 10_000)


@pytest.mark.parametrize("count", [20, 100, 400])
def test_a_short_curve_is_smoothed_too(tmp_path: Path, count: int) -> None:
    run = RunDirectory(tmp_path)
    curves = Curves(run)
    append_rows(run.metrics, [{"step": n, "loss": 1.0 + (-1) ** n} for n in range(1, count + 1)])
    curves.read()
    rough = [loss for _, loss in curves.smooth()[-4:]]
    assert max(rough) - min(rough) <= 0.4, "of 2 from step to step"


def test_the_newest_lora_comes_first_and_one_that_is_taken_away_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path)
    run.weights.mkdir()
    for number, name in enumerate(("b", "a", "gone")):
        file = run.weights / f"{name}.safetensors"
        file.write_bytes(b"x" * number)
        os.utime(file, (number, number))
    stat = Path.stat

    def taking_away(self: Path, **rest: Any) -> os.stat_result:
        if self.stem == "gone":
            self.unlink(missing_ok=True)
        return stat(self, **rest)

    monkeypatch.setattr(Path, "stat", taking_away)
    assert [(file.stem, size) for file, size in files(run)] == [("a", 1), ("b", 0)]


def test_a_finished_lora_is_the_runs_own_wherever_another_took_its_place(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.make()
    write_json(run.origin, {"session": 7})
    place, copy = tmp_path / "mine.safetensors", run.weights / "mine.safetensors"
    assert finished_lora(run, place) is None
    for file in (place, copy):
        save_file({"a": torch.zeros(1)}, file, {"ss_session_id": "7"})
    assert finished_lora(run, place) == place
    save_file({"a": torch.zeros(1)}, place, {"ss_session_id": "8"})
    assert finished_lora(run, place) == copy
    place.unlink()
    assert finished_lora(run, place) == copy
    save_file({"a": torch.zeros(1)}, place)
    assert finished_lora(run, place) == place, "without metadata nothing speaks against it"


def test_a_file_has_another_version_when_something_was_added(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    assert version(file) == (0, 0)
    file.write_text("{}\n")
    before = version(file)
    assert version(file) == before
    file.write_text("{}\n{}\n")
    assert version(file)[1] == 6
    assert version(file) != before


def test_what_a_run_filled_is_neither_marked_as_changed_nor_put_into_the_form(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    tree |= {"training": {"epochs": 3}, "optimizer": {"learning_rate": 3e-4}}
    plan = make_plan(validate(tree))
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.settings.write_text(to_toml(plan.settings), "utf8")
    write_json(run.origin, {"filled": filled_names(plan.given, plan.settings)})
    values = {name: changed for name, _, _, changed in changed_settings(run)}
    given = {f"{section}.{name}" for section, inner in tree.items() for name in inner}
    assert {name for name, changed in values.items() if changed} == given - {"network.alpha"}, "whose default it is"
    again = given_settings(run)
    assert again["training"]["seed"] == plan.seed
    again["training"]["epochs"], again["optimizer"]["learning_rate"] = 10, 1e-5
    longer = make_plan(validate(again))
    assert longer.epochs == 10
    assert longer.base_rates["lora_unet"] == 1e-5
