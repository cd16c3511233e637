"""The tab Tools by clicking alone: what each tool writes, by its numbers, and what is said where something is wrong."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tehon.catalog.detect import find_networks
from tehon.catalog.header import read_header
from tehon.surgery.lora_layers import open_lora
from tehon.weights.lora_file import write_lora

pytestmark = pytest.mark.slow
PLACES = {  # a layer's name in a LoRA, and that of its weight in a checkpoint
    "lora_unet_mid_block_attentions_0_proj_in": "model.diffusion_model.middle_block.1.proj_in.weight",
    "lora_unet_down_blocks_0_attentions_1_proj_out": "model.diffusion_model.input_blocks.2.1.proj_out.weight",
    "lora_te_text_model_encoder_layers_0_mlp_fc1": (
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    ),
}
MID, DOWN, TEXT = PLACES


@dataclass
class Files:
    """A tiny Stable Diffusion 1, and two LoRAs of rank 4 for it."""

    model: Path
    one: Path
    two: Path


@pytest.fixture(scope="module")
def files(models: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Files:
    spec = importlib.util.spec_from_file_location("drawn", Path(__file__).parents[1] / "surgery" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    model, folder = models("sd1", "model.safetensors"), tmp_path_factory.mktemp("loras")
    for seed in (1, 2):
        rows, facts = drawn.layers_of("sd1", "lora", 4, False, seed, find_networks(str(model)))
        facts |= {"ss_network_module": "networks.lora", "ss_network_alpha": "2", "ss_seed": f"7{seed}"}
        write_lora(folder / f"{seed}.safetensors", rows, facts, "float")
    return Files(model, folder / "1.safetensors", folder / "2.safetensors")


class Tool:
    """One tool of the tab, as a person sees it."""

    def __init__(self, page: Any, name: str) -> None:
        self.page = page
        page.get_by_role("tab", name=name, exact=True).click()
        page.locator(".tools-place .panel-title", has_text=name).locator("visible=true").wait_for()

    def seen(self, label: str, number: int = 0) -> Any:
        return self.page.get_by_label(label, exact=True).locator("visible=true").nth(number)

    def fill(self, **texts: object) -> None:
        """Fields by their labels, with _ for blanks."""
        for label, text in texts.items():
            self.seen(label.replace("_", " ")).fill(str(text))

    def choose(self, label: str, option: str) -> None:
        self.seen(label).click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def go(self, said: str, button: str = "Go") -> str:
        """Clicks, and gives all that is said below, which has this in it."""
        self.page.get_by_role("button", name=button, exact=True).locator("visible=true").click()
        place = self.page.locator(".tool-said", has_text=said).locator("visible=true")
        place.wait_for(timeout=120_000)
        return place.inner_text()


@pytest.fixture
def tool(server: Any, visit: Any) -> Callable[[str], Tool]:
    page = visit(f"{server.url}/tools")
    return lambda name: Tool(page, name)


def change(file: Path, layer: str) -> Tensor:
    """B A alpha / rank, by the textbook."""
    rows = load_file(file)
    down, up = rows[f"{layer}.lora_down.weight"].flatten(1), rows[f"{layer}.lora_up.weight"].flatten(1)
    return float(rows[f"{layer}.alpha"]) / len(down) * up @ down


def test_two_loras_are_merged_into_a_model(tool: Callable[[str], Tool], files: Files, tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    merge = tool("Merge")
    merge.fill(**{"Model_(none:_into_a_LoRA)": files.model, "LoRA": files.one, "Strength": 0.5, "of_text_encoders": 0})
    merge.page.get_by_role("button", name="Another LoRA").click()
    merge.seen("LoRA", 1).fill(str(files.two))
    merge.seen("Strength", 1).fill("-0.25")
    merge.seen("by block, 1,0.5,…", 1).fill(", ".join("1" if block == 12 else "0" for block in range(25)))
    merge.fill(Result=out)
    merge.go(f"Written and checked: {out}")
    before, after = load_file(files.model), load_file(out)
    for layer, wanted in (
        (MID, 0.5 * change(files.one, MID) - 0.25 * change(files.two, MID)),
        (DOWN, 0.5 * change(files.one, DOWN)),
        (TEXT, -0.25 * change(files.two, TEXT)),
    ):
        got = (after[PLACES[layer]] - before[PLACES[layer]]).flatten(1)
        assert torch.allclose(got, wanted, atol=1e-6), layer
        assert float(got.norm()) > 1e-3
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("first_stage_model"))


def test_loras_alone_are_merged_into_a_lora(tool: Callable[[str], Tool], files: Files, tmp_path: Path) -> None:
    out = tmp_path / "sum.safetensors"
    merge = tool("Merge")
    merge.fill(LoRA=files.one, Strength=0.7, Result=out)
    merge.page.get_by_role("button", name="Another LoRA").click()
    merge.seen("LoRA", 1).fill(str(files.two))
    merge.go(f"Written and checked: {out}")
    for layer in PLACES:
        wanted = 0.7 * change(files.one, layer) + change(files.two, layer)
        assert torch.allclose(change(out, layer), wanted, atol=1e-6), layer


def test_a_lora_is_given_fewer_ranks(tool: Callable[[str], Tool], files: Files, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    resize = tool("Fewer ranks")
    resize.fill(LoRA=files.one, Rank_at_most=2, Result=out)
    resize.go(f"Written and checked: {out}")
    assert read_header(out).metadata["ss_network_dim"] == "2"
    for layer in PLACES:
        u, s, v = torch.linalg.svd(change(files.one, layer))
        assert torch.allclose(change(out, layer), (u[:, :2] * s[:2]) @ v[:2], atol=1e-6), layer


def test_the_difference_of_two_models_is_extracted(tool: Callable[[str], Tool], files: Files, tmp_path: Path) -> None:
    tuned, out = tmp_path / "tuned.safetensors", tmp_path / "difference.safetensors"
    rows = load_file(files.model)
    for layer, place in PLACES.items():
        rows[place] += change(files.one, layer).view_as(rows[place])
    save_file(rows, tuned)
    extract = tool("Extract")
    extract.fill(Base_model=files.model, Trained_model=tuned, Rank_at_most=4, Result=out)
    extract.choose("Numbers", "float")
    extract.go(f"Written and checked: {out}")
    for layer in PLACES:
        assert torch.allclose(change(out, layer), change(files.one, layer), atol=2e-6), layer
        assert len(load_file(out)[f"{layer}.lora_down.weight"]) == 4


def test_names_are_converted_and_come_back(tool: Callable[[str], Tool], files: Files, tmp_path: Path) -> None:
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    convert = tool("Convert")
    convert.fill(LoRA=files.one, Result=there)
    convert.go(f"Written and checked: {there}")
    name = "unet.mid_block.attentions.0.proj_in.lora_B.weight"
    assert torch.equal(load_file(there)[name], load_file(files.one)[f"{MID}.lora_up.weight"])
    convert.choose("Names of", "kohya")
    convert.fill(LoRA=there, Result=back)
    convert.go(f"Written and checked: {back}")
    assert back.read_bytes() == files.one.read_bytes()


def test_a_lora_is_looked_into(tool: Callable[[str], Tool], files: Files) -> None:
    look = tool("Look into a LoRA")
    look.fill(LoRA=files.one)
    look.page.get_by_role("button", name="Show", exact=True).click()
    place = look.page.locator(".tool-found")
    place.get_by_text("ss_seed", exact=True).wait_for(timeout=120_000)
    layers = len(open_lora(files.one).layers)
    cells = [row.partition("\t") for row in place.locator("tr").all_inner_texts()]
    rows = {name.strip(): value.strip() for name, _, value in cells}
    assert rows["Ranks"] == f"4: {layers}"
    assert rows["ss_seed"] == "71"
    assert f"{layers}/{layers}" in rows["Read by"]


def test_what_is_wrong_stays_as_a_sentence(tool: Callable[[str], Tool], files: Files, tmp_path: Path) -> None:
    merge = tool("Merge")
    assert merge.go("LoRA is still").split("\n") == ["LoRA is still to be chosen.", "Result is still to be chosen."]
    merge.fill(LoRA=files.one, Result=files.two)
    merge.go(f"{files.two} is already there")
    assert open_lora(files.two).layers
    resize = tool("Fewer ranks")
    resize.seen("Rank at most").fill("")
    resize.fill(LoRA=tmp_path / "nothing.safetensors")
    assert resize.go("Rank at most is") == "Rank at most is still to be chosen."
    resize.fill(Rank_at_most=2)
    said = resize.go("nothing.safetensors")
    assert "Traceback" not in said
    assert "usage" not in said
    look = tool("Look into a LoRA")
    look.go("LoRA is still to be chosen.", button="Show")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    look.fill(LoRA=tmp_path / "other.safetensors")
    look.go("other.safetensors", button="Settings into the form")
    look.page.wait_for_timeout(6000)  # longer than a toast
    assert "other.safetensors" in look.page.locator(".tool-said.problem").locator("visible=true").inner_text()
    assert look.page.locator(".q-notification").count() == 0
