"""A model trained here to predict the velocity: it learns only with the right setting, and the trainer finds out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from tehon.catalog.detect import demo_folder
from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.prediction import predicted
from tehon.training.readings import kept_views

Tree = dict[str, Any]
Colour = tuple[int, int, int]
OWN = ((200, 30, 30), (30, 200, 30))
"""The colours that the base model knows."""


def halves(colour: Colour) -> Image.Image:
    picture = Image.new("RGB", (64, 64), colour)
    picture.paste((255, 255, 255), (0, 0, 32, 64))
    return picture


def data_in(folder: Path, *colours: Colour) -> Path:
    place = folder / "data" / "8_halves"
    place.mkdir(parents=True)
    for number, colour in enumerate(colours):
        halves(colour).save(place / f"{number}.png")
    return folder


def assembled(folder: Path, model: Path | str, notices: list[str] | None = None, prediction: str = "") -> Trainer:
    """A LoRA of all of the U-Net on a folder's pictures."""
    told = {"prediction": prediction} if prediction else {}
    tree = {
        "model": {"path": str(model), **told},
        "data": {"folder": str(folder / "data"), "resolution": 64, "batch_size": 8},
        "network": {"rank": 8, "alpha": 8.0, "conv_rank": 8},
        "optimizer": {"name": "AdamW", "learning_rate": 0.02, "text_encoder_lr": 0.0, "lr_scheduler": "constant"},
        "training": {"seed": 1, "device": "cpu", "epochs": 50},
        "output": {"folder": str(folder / "out"), "name": "x"},
    }
    return assemble(make_plan(validate(tree)), (notices if notices is not None else []).append)


def says(folder: Path, prediction: str | None) -> Path:
    """What the folder's scheduler says that the model predicts."""
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text()) | {"prediction_type": prediction}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return folder


@pytest.fixture(scope="module")
def untrained(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's VAE, whose latents mean something, with the smallest U-Net, which has learned nothing."""
    folder = tmp_path_factory.mktemp("untrained") / "model"
    shutil.copytree(nano, folder)
    shutil.copytree(demo_folder() / "vae", folder / "vae", dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def velocity(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a training of the whole U-Net to predict the velocity. Nothing in the folder says so."""
    root = tmp_path_factory.mktemp("velocity")
    folder = root / "model"
    shutil.copytree(untrained, folder)
    trainer = assembled(data_in(root, *OWN), says(folder, "v_prediction"))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    trainer.parts.unet = unet
    optimizer = torch.optim.Adam(unet.parameters(), 0.01)
    for step in range(110):
        loss = trainer.step.losses_of(step, trainer.plan.group(step)[1][0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unet.save_pretrained(folder / "unet")
    return says(folder, None)


def error(trainer: Trainer) -> float:
    """Of the velocity that the network predicts for the pictures of the run, with the same noise each time."""
    items = [(view, "") for view in kept_views(trainer.plan)]
    return replace(trainer.validation, items=items, objective="v").loss()


@pytest.mark.slow
def test_only_the_right_setting_learns_the_pictures(velocity: Path, tmp_path: Path) -> None:
    """A picture that is new to it."""
    data_in(tmp_path, (40, 40, 220))
    before, after = {}, {}
    for prediction in ("v", "epsilon"):
        trainer = assembled(tmp_path, velocity, prediction=prediction)
        before[prediction] = error(trainer)
        list(trainer.updates())
        after[prediction] = error(trainer)
    assert before["v"] == before["epsilon"]
    assert after["v"] < 0.6 * before["v"]
    assert after["epsilon"] > 1.3 * after["v"]


@pytest.mark.slow
def test_the_network_is_asked_where_the_file_is_silent(velocity: Path, tmp_path: Path) -> None:
    data_in(tmp_path, *OWN)
    with pytest.raises(Problem, match=r"model\.prediction: .* predict v, .*; set model\.prediction to v"):
        assembled(tmp_path, velocity)
    notices: list[str] = []
    assembled(tmp_path, velocity, notices, "v")
    assert not any("predict" in text for text in notices)
    assembled(tmp_path, velocity, notices, "epsilon")
    assert [text for text in notices if "turns out to predict v, but model.prediction says epsilon" in text]


def test_what_a_network_predicts_is_seen_once_it_has_learned_something(untrained: Path, tmp_path: Path) -> None:
    data_in(tmp_path, (40, 40, 220), (220, 40, 40))
    for model, expected in (("demo", "epsilon"), (untrained, None)):
        trainer = assembled(tmp_path, model)
        epoch, batches = trainer.plan.group(0)
        assert predicted(trainer.step, epoch, batches[0]) == expected
