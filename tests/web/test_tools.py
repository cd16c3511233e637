"""The tab Tools in a real browser: looking into a LoRA, its settings back, and a file written by resize."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tehon.catalog.header import read_header
from tehon.settings.files import read_toml
from tehon.web.charts import norms
from tehon.web.tool_process import ask_tool
from tehon.weights.lora_file import write_lora

LAYERS = ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    rows = {}
    for layer in LAYERS:
        kernel = (1, 1) if "proj_in" in layer else ()
        rows |= {
            f"{layer}.lora_down.weight": torch.randn(4, 6, *kernel),
            f"{layer}.lora_up.weight": torch.randn(6, 4, *kernel),
            f"{layer}.alpha": torch.tensor(4.0),
        }
    file = tmp_path / "mofu.safetensors"
    facts = {"ss_network_dim": "4", "ss_network_alpha": "4", "ss_network_module": "networks.lora", "ss_seed": "77"}
    write_lora(file, rows, facts | {"ss_base_model_version": "sd_v1"}, "float")
    return file


@pytest.mark.slow
def test_a_lora_is_shown_its_settings_come_back_and_it_is_resized(server: Any, visit: Any, lora: Path) -> None:
    page = visit(f"{server.url}/tools")
    file = page.get_by_label("LoRA", exact=True).locator("visible=true")
    file.fill(str(lora))
    page.get_by_role("button", name="Show", exact=True).click()
    page.locator(".settings-table th", has_text="ss_seed").wait_for()
    page.locator(".chart.norms canvas").wait_for()
    text = page.locator(".tool-found").inner_text()
    assert "ComfyUI and Forge 2/2" in text
    assert read_header(lora).metadata["sshs_model_hash"] in text
    page.get_by_role("button", name="Settings into the form").click()
    page.locator(".report").get_by_text("ss_seed", exact=False).wait_for()
    page.get_by_role("button", name="Close").click()
    assert read_toml(server.home / "form.toml")["training"]["seed"] == 77

    page.goto(f"{server.url}/tools")
    page.get_by_role("tab", name="Fewer ranks").click()
    page.get_by_role("button", name="Show", exact=True).wait_for(state="hidden")  # it has a "LoRA" too
    page.get_by_label("LoRA", exact=True).locator("visible=true").fill(str(lora))
    out = lora.with_name("small.safetensors")
    page.get_by_label("Rank at most").locator("visible=true").fill("2")
    page.get_by_label("Result", exact=True).locator("visible=true").fill(str(out))
    go = page.get_by_role("button", name="Go").locator("visible=true")
    go.click()
    page.get_by_text(f"Written and checked: {out}").wait_for()
    assert read_header(out).metadata["ss_network_dim"] == "2"
    go.click()  # a second time it is there already
    page.get_by_text("is already there", exact=False).wait_for()


def test_a_tool_answers_with_data_or_with_a_sentence(lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ask_tool("inspect", str(lora)).data or {})["ranks"] == {"4": 2}
    refused = ask_tool("resize", str(lora), "--rank", "0")
    assert refused.data is None
    assert "--rank: 0 is no rank" in refused.said


def test_norms_are_bars_in_the_order_of_the_blocks() -> None:
    options = norms({"lora_te": 1.23456, "IN01": 0.5})
    assert options["xAxis"]["data"] == ["lora_te", "IN01"]
    assert options["series"][0]["data"] == [1.235, 0.5]
