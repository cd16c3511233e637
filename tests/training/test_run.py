"""Whole runs on the demo model: what is recorded, that they repeat, and that they resume, to the last bit."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tehon.catalog.header import read_header
from tehon.families.sd import StableDiffusion
from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.runs.known import find_run
from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows, states
from tehon.settings.files import load_settings
from tehon.settings.kohya.read import bring
from tehon.training.assemble import assemble
from tehon.training.run import Outcome, resume_run, start_run
from tehon.training.state import read_state
from trainings import planned, quiet

Tree = dict[str, Any]


def run(tree: Tree, **changes: dict[str, Any]) -> Outcome:
    return start_run(planned(tree, **changes), quiet)


def tensors(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.lora is not None
    return safetensors.torch.load_file(outcome.lora)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_runs_of_one_seed_are_the_same_bytes_and_another_seed_is_not(tree: Tree) -> None:
    first = run(tree, output={"name": "one"})
    second = run(tree, output={"name": "two"})
    other = run(tree, output={"name": "three"}, training={"seed": 6})
    assert same(tensors(first), tensors(second))
    assert not same(tensors(first), tensors(other))


def test_a_stopped_and_resumed_run_is_the_straight_run(tree: Tree) -> None:
    """Stopped in the middle of an epoch, with accumulation and batches of two sizes."""
    changes: dict[str, dict[str, Any]] = {"training": {"epochs": 4, "gradient_accumulation_steps": 2}}
    plan = planned(tree, **changes)
    assert plan.steps == 8
    straight = start_run(plan, quiet)

    def stop_after_four(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 4:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = start_run(planned(tree, **changes, output={"name": "again"}), stop_after_four)
    assert stopped.lora is None
    assert stopped.steps == 4
    resumed = resume_run(stopped.run, quiet)
    assert same(tensors(resumed), tensors(straight))
    assert [row["step"] for row in rows(resumed.run.metrics)] == list(range(1, 9))
    told = [(row["step"], row["loss"]) for row in rows(straight.run.metrics)]
    assert [(row["step"], row["loss"]) for row in rows(resumed.run.metrics)] == told


def test_a_schedule_free_run_resumes_and_saves_the_weights_to_use(tree: Tree) -> None:
    rates = {"name": "AdamWScheduleFree", "learning_rate": 1e-2, "lr_scheduler": "constant"}
    straight = run(tree, optimizer=rates, output={"save_state_every_n_steps": 2, "save_precision": "float"})
    before = tensors(straight)
    newest = states(straight.run)[0]
    trained = read_state(newest)["weights"]
    saved = torch.cat([tensor.flatten() for name, tensor in before.items() if not name.endswith("alpha")])
    assert saved.numel() == trained.numel()
    assert abs(float(saved.norm() / trained.norm()) - 1) > 1e-5, "the file holds the average, not what is trained"
    newest.unlink()
    assert straight.lora is not None
    straight.lora.unlink()
    assert same(tensors(resume_run(straight.run, quiet)), before)


@pytest.mark.parametrize(("event", "steps"), [("started", 0), ("step", 1)])
def test_an_inbox_file_stops_a_run(tree: Tree, event: str, steps: int) -> None:
    """Before the first update nothing is to be finished."""

    def drop(name: str, facts: dict[str, Any]) -> None:
        if name == event:
            next(Path(tree["output"]["folder"]).glob("runs/*/inbox")).joinpath("stop").touch()

    stopped = start_run(planned(tree), drop)
    assert (stopped.steps, stopped.lora) == (steps, None)
    assert not list(stopped.run.inbox.iterdir())


def test_the_run_directory_repeats_the_run(tree: Tree) -> None:
    outcome = run(tree, training={"seed": None})
    settings = load_settings(outcome.run.settings, {"output.name": "repeated"})
    repeated = start_run(make_plan(settings), quiet)
    assert same(tensors(repeated), tensors(outcome))


def test_records_are_complete(tree: Tree) -> None:
    outcome = run(tree)
    directory: RunDirectory = outcome.run
    told = [row["event"] for row in rows(directory.events)]
    assert told == ["opened", "started", "state_saved", "checked", "finished"]
    figures = rows(directory.metrics)
    plan = planned(tree)
    assert [row["step"] for row in figures] == list(range(1, plan.steps + 1))
    for row in figures:
        assert row["rates"] == {root: plan.rate(root, row["step"] - 1) for root in ("lora_te", "lora_unet")}
    assert json.loads(directory.origin.read_text())["torch"] == torch.__version__
    assert (directory.weights / "mine.safetensors").read_bytes() == (outcome.lora or Path()).read_bytes()


def test_a_lora_says_of_itself_what_people_wrote(tree: Tree) -> None:
    about = {
        "title": "Mofu",
        "author": "me",
        "description": "a fluffy star",
        "license": "CC0-1.0",
        "tags": "mofu, star",
    }
    about |= {"trigger_phrase": "mofu", "usage_hint": "0.8"}
    outcome = run(tree, output={f"metadata_{name}": text for name, text in about.items()})
    assert outcome.lora is not None
    metadata = read_header(outcome.lora).metadata
    assert {name: metadata[f"modelspec.{name}"] for name in about} == about
    back = bring(outcome.lora).tree["output"]
    assert {name: back[f"metadata_{name}"] for name in about} == about


def test_a_lora_may_keep_to_itself_how_it_was_trained(tree: Tree) -> None:
    """sd-scripts' minimum, and that by which a run knows its own files again and samples are drawn as trained."""
    tree["training"]["epochs"] = 2
    output = {"no_metadata": True, "training_comment": "hello", "metadata_author": "me", "save_last_n_epochs": 1}
    outcome = run(tree, output=output)
    assert outcome.lora is not None
    metadata = read_header(outcome.lora).metadata
    own = {name for name in metadata if not name.startswith(("modelspec.", "sshs_"))}
    network = {"ss_network_module", "ss_network_dim", "ss_network_alpha"}
    assert own == {"ss_v2", "ss_base_model_version", "ss_session_id", "ss_zero_terminal_snr"} | network
    assert metadata["modelspec.author"] == "me"
    assert "red thing" not in str(metadata)
    assert run(tree, output=output | {"overwrite": True}).lora


def test_the_file_has_all_modules_and_says_how_it_was_made(tree: Tree) -> None:
    outcome = run(tree, output={"training_comment": "hello"})
    assert outcome.lora is not None
    header = read_header(outcome.lora)
    names = {key.partition(".")[0] for key in header.shapes}
    assert sum(name.startswith("lora_unet_") for name in names) == 48
    assert sum(name.startswith("lora_te_text_model_encoder_layers_") for name in names) == 18
    metadata = header.metadata
    assert metadata["ss_network_module"] == "networks.lora"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "1.0")
    assert metadata["ss_training_comment"] == "hello"
    assert metadata["ss_output_name"] == "mine"
    assert metadata["ss_optimizer"] == "bitsandbytes.optim.adamw.AdamW8bit"
    assert (metadata["ss_lr_scheduler"], metadata["ss_unet_lr"]) == ("cosine", "0.0001")
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.title"] == "mine"
    assert "modelspec.author" not in metadata
    assert metadata["modelspec.resolution"] == "128x128"
    assert metadata["ss_steps"] == metadata["ss_max_train_steps"] == "4"
    folders = json.loads(metadata["ss_dataset_dirs"])
    assert folders == {"2_red thing": {"n_repeats": 2, "img_count": 2}, "3_blue": {"n_repeats": 3, "img_count": 1}}
    assert json.loads(metadata["ss_tag_frequency"])["3_blue"] == {"caption 2": 1}
    buckets = json.loads(metadata["ss_bucket_info"])["buckets"]
    assert buckets == {"0": {"resolution": [64, 64], "count": 5}, "1": {"resolution": [96, 64], "count": 2}}


@pytest.mark.parametrize(
    ("rates", "roots"),
    [
        ({"text_encoder_lr": 0.0}, {"lora_unet"}),
        ({"unet_lr": 0.0}, {"lora_te"}),
    ],
)
def test_a_part_with_rate_zero_is_neither_trained_nor_saved(
    tree: Tree, rates: dict[str, float], roots: set[str]
) -> None:
    outcome = run(tree | {"optimizer": {}}, optimizer=rates)
    assert {"lora_te" if name.startswith("lora_te") else "lora_unet" for name in tensors(outcome)} == roots


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("optimizer", {"learning_rate": 5e-4, "unet_lr": 5e-4}),
        ("optimizer", {"text_encoder_lr": 5e-4}),
        ("optimizer", {"arguments": "weight_decay=0.5", "unet_lr": 0.1}),
        ("optimizer", {"max_grad_norm": 1e-9}),
        ("optimizer", {"lr_scheduler": "linear"}),
        ("optimizer", {"name": "Lion"}),
        ("network", {"alpha": 2.0}),
        ("training", {"gradient_accumulation_steps": 2}),
    ],
)
def test_each_training_setting_changes_what_is_learned(tree: Tree, section: str, change: dict[str, Any]) -> None:
    plain = {"output": {"name": "plain"}, "optimizer": {"unet_lr": 0.1} if "arguments" in change else {}}
    assert not same(
        tensors(run(tree | {"optimizer": {}}, **plain)), tensors(run(tree | {"optimizer": {}}, **{section: change}))
    )


def test_a_loss_that_is_not_finite_stops_with_step_and_pictures(tree: Tree) -> None:
    with pytest.raises(Problem, match=r"step \d: the loss is not a finite number \(pictures 0") as caught:
        run(
            tree | {"optimizer": {}},
            optimizer={"learning_rate": 1e20, "unet_lr": 1e20, "lr_warmup": 0.0, "max_grad_norm": 0.0},
        )
    assert caught.value.key == "loss_not_finite"
    assert not (Path(tree["output"]["folder"]) / "mine.safetensors").exists()


def test_an_existing_lora_is_only_replaced_when_asked(tree: Tree) -> None:
    run(tree)
    with pytest.raises(Problem, match="exists already"):
        run(tree)
    assert run(tree, output={"overwrite": True}).lora


@pytest.mark.parametrize(("precision", "name"), [("float", "F32"), ("fp16", "F16"), ("bf16", "BF16")])
def test_save_precision_is_the_type_in_the_file(tree: Tree, precision: str, name: str) -> None:
    outcome = run(tree, output={"save_precision": precision}, training={"max_train_steps": 1})
    assert outcome.lora is not None
    assert set(read_header(outcome.lora).dtypes.values()) == {name}


def test_vae_batch_size_is_how_many_pictures_are_encoded_at_once(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = StableDiffusion.encode_image

    def watched(self: StableDiffusion, parts: Any, pictures: torch.Tensor) -> Any:
        sizes.append(len(pictures))
        return encode(self, parts, pictures)

    monkeypatch.setattr(StableDiffusion, "encode_image", watched)
    assemble(planned(tree, feed={"vae_batch_size": 1}))
    assert sizes == [1, 1, 1]
    sizes.clear()
    assemble(planned(tree))
    assert sorted(sizes) == [1, 2]


def test_a_missing_device_is_refused_before_anything_is_written(tree: Tree) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(Problem, match="no cuda device"):
        run(tree, training={"device": "cuda"})
    assert not Path(tree["output"]["folder"]).exists()


def test_a_run_is_remembered_by_its_output_folder_and_goes_on_where_that_cannot_be_written_down(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"max_train_steps": 1}
    outcome = run(tree, training=short)
    assert find_run("mine").path == outcome.run.path
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEHON_DATA", str(tmp_path / "file"))
    outcome = run(tree, training=short, output={"overwrite": True})
    told = [row["text"] for row in rows(outcome.run.events) if row["event"] == "notice"]
    assert any("tehon runs will not list this run" in text for text in told)
