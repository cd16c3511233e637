"""Each command once, as it is typed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tehon.catalog.detect import demo_folder
from tehon.cli.main import main
from tehon.cli.progress import Watcher
from tehon.planning.plan import make_plan
from tehon.settings.files import to_toml, validate


@pytest.fixture
def config(tree: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(validate(tree)), "utf8")
    return file


def test_train_then_inspect_then_sample(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(config), "--json", "--training.max_train_steps", "2"]) == 0
    events = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]
    names = ["encoding", "encoding", "started", "step", "state_saved", "step", "checked", "finished"]
    assert [event["event"] for event in events if event["event"] != "notice"] == names
    lora = Path(events[-1]["path"])
    assert lora == tmp_path / "out" / "mine.safetensors"

    assert main(["inspect", str(lora), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["modules"] == {"lora_te": 72, "lora_unet": 192}
    assert shown["ranks"] == {"2": 264}
    assert shown["kinds"] == {"lora": 264}
    assert shown["metadata"]["ss_steps"] == "2"
    assert main(["inspect", str(lora)]) == 0
    printed = capsys.readouterr().out
    assert "lora_unet: 192" in printed
    assert "lora: 264" in printed

    out = tmp_path / "drawn"
    words = ["sample", "demo", "a red star", "mofu", "--out", str(out), "--count", "2", "--seed", "5", "--steps", "2"]
    assert main([*words, "--lora", f"{lora}:0.7", "--width", "64", "--height", "96"]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["00_5.png", "00_6.png", "01_5.png", "01_6.png"]
    assert Image.open(out / "00_5.png").size == (64, 96)

    was = (out / "00_5.png").read_bytes()
    assert main([*words[:3], "--out", str(out), "--seed", "5", "--steps", "1", "--width", "64", "--height", "64"]) == 0
    assert capsys.readouterr().out.split("\n")[-2] == str(out / "02_5.png"), "the next number that is free"
    assert (out / "00_5.png").read_bytes() == was


def test_a_training_that_is_interrupted_at_once_is_gone_on_with(
    config: Path, nano: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two times Ctrl-C, after steps that may have been saved or not."""
    tell = Watcher.__call__

    def impatient(watcher: Watcher, name: str, facts: dict[str, Any]) -> None:
        tell(watcher, name, facts)
        if name == "step":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Watcher, "__call__", impatient)
    words = ["--model.path", str(nano), "--quiet", "--output.save_state_every_n_steps", "1"]
    assert main(["train", str(config), *words]) == 130
    assert capsys.readouterr().err == (
        "Interrupted: what was under way is not saved. A training goes on from its newest state with tehon resume.\n"
    )
    monkeypatch.setattr(Watcher, "__call__", tell)
    assert main(["resume", "mine", "--quiet"]) == 0


def test_quiet_prints_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(config), "--quiet", "--training.max_train_steps", "1"]) == 0
    assert capsys.readouterr().out == ""


def test_people_see_the_plan_and_where_the_lora_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(config), "--training.max_train_steps", "1"]) == 0
    shown = capsys.readouterr().out
    assert "Pictures   3, 3 of them with a caption; 7 readings per epoch" in shown
    assert "mine.safetensors" in shown
    assert "Checked    264 of 264 layers match in ComfyUI and Forge" in shown


def test_stop_then_resume(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tehon.planning.plan import make_plan
    from tehon.settings.files import load_settings
    from tehon.training.run import start_run

    def stop(name: str, facts: dict[str, Any]) -> None:
        if name == "started":
            next(tmp_path.glob("out/runs/*/inbox")).joinpath("stop").touch()

    run = start_run(make_plan(load_settings(config, {})), stop).run
    assert main(["resume", str(run.path), "--quiet"]) == 0
    assert (tmp_path / "out" / "mine.safetensors").exists()


def test_a_lora_of_another_size_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from tehon.weights.lora_file import write_lora

    file = tmp_path / "other.safetensors"
    name = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {
        f"{name}.lora_down.weight": torch.zeros(2, 1280, 1, 1),
        f"{name}.lora_up.weight": torch.zeros(1280, 2, 1, 1),
    }
    write_lora(file, tensors, {}, "float")
    assert main(["sample", "demo", "x", "--out", str(tmp_path), "--lora", str(file)]) == 2
    assert "another size" in capsys.readouterr().err
    nowhere = {
        "lora_unet_nowhere.lora_down.weight": torch.zeros(2, 3),
        "lora_unet_nowhere.lora_up.weight": torch.zeros(3, 2),
    }
    write_lora(file, nowhere, {}, "float")
    assert main(["sample", "demo", "x", "--out", str(tmp_path), "--lora", str(file)]) == 2
    assert "0 of 1 layer matches" in capsys.readouterr().err


def test_people_are_told_which_lora_to_keep(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tehon.training.validation import Validation

    answers = iter([0.25, 0.5])
    monkeypatch.setattr(Validation, "loss", lambda self: next(answers))
    words = ["train", str(config), "--data.validation_split", "0.4", "--training.epochs", "4"]
    assert main([*words, "--validation.stop_after", "1", "--validation.every_n_steps", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The loss on held-out pictures falls no more: the training ends at step 2." in shown
    assert "step 1 (epoch 1) had the lowest loss on held-out pictures, 0.2500; no LoRA was kept there" in shown


def test_a_lora_that_was_trained_to_pure_noise_is_drawn_from_it(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only with a model that predicts v, and not silently."""
    module = make_plan(validate(tree)).modules[0]
    tensors = {f"{module.name}.{name}": torch.zeros(shape) for name, shape in module.tensors.items() if shape}
    file = tmp_path / "zero.safetensors"
    save_file(tensors | {f"{module.name}.alpha": torch.tensor(1.0)}, file, {"ss_zero_terminal_snr": "True"})
    drawn: dict[str, bytes] = {}
    for kind in ("epsilon", "v_prediction"):
        model = shutil.copytree(demo_folder(), tmp_path / kind)
        config = model / "scheduler" / "scheduler_config.json"
        config.write_text(json.dumps(json.loads(config.read_text("utf8")) | {"prediction_type": kind}), "utf8")
        for lora in ([], ["--lora", str(file)]):
            out = tmp_path / f"{kind}{len(lora)}"
            words = ["--steps", "2", "--width", "64", "--height", "64", "--out", str(out), *lora]
            assert main(["sample", str(model), "a cat", *words]) == 0
            drawn[out.name] = (out / "00_0.png").read_bytes()
            said = capsys.readouterr().err
            assert (f"{file} was trained with noise that ends in pure noise" in said) == (out.name == "v_prediction2")
    assert drawn["epsilon0"] == drawn["epsilon2"]
    assert drawn["v_prediction0"] != drawn["v_prediction2"]


@pytest.mark.parametrize(
    ("around", "name"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, b'output.name = "??"'),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 'output.name = "手本"'.encode()),
    ],
)
def test_output_never_fails_for_its_letters(around: dict[str, str], name: bytes, tmp_path: Path) -> None:
    """As on Windows in a pipe, or with LC_ALL=C."""
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps({"LoRA_type": "Standard", "output_name": "手本", "seed": "7"}), "utf8")
    words = [sys.executable, "-m", "tehon", "import", str(preset)]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "TEHON_LANG": "en", **around})
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


@pytest.mark.parametrize(("name", "own"), [("GOMP_SPINCOUNT", "77"), ("OPENBLAS_NUM_THREADS", "1")])
@pytest.mark.parametrize("given", [None, "7"])
def test_threads_that_wait_soon_sleep(name: str, own: str, given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two trainings at once starve each other, and pictures that are scaled the encoder; what somebody has set
    stays."""
    for one in (name, "TEHON_SPINS"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setattr("tehon.cli.main.spins", lambda: 77)
    if given:
        monkeypatch.setenv(name, given)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ[name] == (given or own)


@pytest.mark.parametrize(("given", "then"), [(None, "8"), ("7", "7")])
def test_what_a_tehon_starts_decides_anew_how_long_threads_wait(
    given: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page may have been started while something else computed; what somebody has set stays here too."""
    monkeypatch.delenv("TEHON_SPINS", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if given:
        monkeypatch.setenv("GOMP_SPINCOUNT", given)
    for spins in (9, 8):
        monkeypatch.setattr("tehon.cli.main.spins", lambda found=spins: found)
        with pytest.raises(SystemExit):
            main(["--version"])
    assert os.environ["GOMP_SPINCOUNT"] == then
