import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tehon.catalog.detect import demo_folder
from tehon.messages.problem import Problem
from tehon.planning.identity import Identity, differences, identity
from tehon.planning.plan import make_plan
from tehon.settings.files import validate

Tree = dict[str, Any]


def of(tree: Tree, **changes: dict[str, Any]) -> Identity:
    return identity(
        make_plan(validate({section: tree.get(section, {}) | changes.get(section, {}) for section in tree | changes}))
    )


def changed(tree: Tree, before: Identity, **changes: dict[str, Any]) -> list[str]:
    return [str(change) for change in differences(before.summary(), of(tree, **changes), before.pictures)]


def test_places_and_what_is_saved_when_are_free(tree: Tree, tmp_path: Path) -> None:
    before = of(tree)
    cache = {"cache_latents_to_disk": True, "cache_folder": str(tmp_path / "cache")}
    assert changed(tree, before, feed={"max_data_loader_n_workers": 3}) == []
    assert changed(tree, before, feed=cache) == []
    assert changed(tree, before, output={"folder": str(tmp_path / "b"), "save_every_n_steps": 1}) == []
    moved = Path(tree["data"]["folder"]).rename(tmp_path / "elsewhere")
    assert changed(tree, before, data={"folder": str(moved)}) == []


def test_a_model_that_differs_anywhere_is_another(tree: Tree, tmp_path: Path) -> None:
    model = shutil.copytree(demo_folder(), tmp_path / "model")
    before = of(tree, model={"path": str(model)})
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) * 3 // 4 :] = bytes(len(content) - len(content) * 3 // 4)
    file.write_bytes(content)
    assert of(tree, model={"path": str(model)}).model != before.model


@pytest.mark.skipif(sys.platform == "win32", reason="links need no rights on other systems")
def test_parts_that_are_links_are_looked_at_and_links_to_nothing_are_not(tree: Tree, tmp_path: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    for place in demo_folder().iterdir():
        (other / place.name).symlink_to(place)
    (other / "extra").mkdir()
    (other / "extra" / "model.safetensors").symlink_to(tmp_path / "nowhere")
    assert of(tree, model={"path": str(other)}).model == of(tree).model


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that nobody can read is one of Linux here")
def test_a_weight_file_that_can_not_be_read_is_named(tree: Tree, tmp_path: Path) -> None:
    model = shutil.copytree(demo_folder(), tmp_path / "model")
    (model / "extra.bin").symlink_to("/proc/self/mem")
    with pytest.raises(Problem, match=r"extra.bin: the file cannot be read \(Input/output error\)"):
        of(tree, model={"path": str(model)})


def test_each_change_is_listed_by_name(tree: Tree) -> None:
    before = of(tree)
    assert changed(tree, before, feed={"read_npz": True}) == ["feed.read_npz (False → True)"]
    assert changed(tree, before, text={"clip_skip": 2}) == ["text.clip_skip (1 → 2)"]
    longer = ["training.epochs (1 → 2)", "training.max_train_epochs (1 → 2)"]
    assert changed(tree, before, training={"epochs": 2}) == longer
    file = next(Path(tree["data"]["folder"]).rglob("00.png"))
    with Image.open(file) as picture:
        Image.new("RGB", picture.size, "white").save(file)
    file.with_name("01.txt").write_text("something else")
    assert changed(tree, before) == ["data (00.png, 01.png)"]
    Image.new("RGB", (64, 64), "red").save(file.with_name("09.png"))
    file.unlink()
    assert changed(tree, before) == ["data (00.png, 01.png, 09.png)"]
