"""The page of a run, in a real browser: samples in rows by prompt, settings, and steps that come while it is shown."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from PIL import Image
from safetensors.torch import save_file

from tehon.messages.problem import Problem
from tehon.runs.known import remember
from tehon.runs.layout import RunDirectory, new_run_directory
from tehon.runs.record import append_rows, event, write_json
from tehon.web.actions import draw_grid

pytestmark = pytest.mark.slow
PROMPTS = ("a cat", "a dog on a hill")


@pytest.fixture
def run(server: Any, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run of 20 steps that somebody stopped, with three pictures of each of two prompts."""
    monkeypatch.setenv("TEHON_DATA", str(server.home))
    output = server.home / "output"
    found = new_run_directory(output, "mine")
    remember(output)
    found.previews.mkdir()
    write_json(found.origin, {"started": 1.7e9})
    found.settings.write_text(tomli_w.dumps(tree), "utf8")
    append_rows(found.events, [event("opened", step=0), event("started", steps=40), event("stopped", step=20)])
    rates = {"lora_unet": 1e-4}
    append_rows(found.metrics, [{"step": n, "epoch": 1, "loss": 1 / n, "rates": rates} for n in range(1, 21)])
    for step, tag in ((0, "base"), (10, "step"), (20, "step")):
        for number, prompt in enumerate(PROMPTS):
            file = f"{step}-{number}.png"
            Image.new("RGB", (64, 96), (step * 9, 80, number * 99)).save(found.previews / file)
            append_rows(found.samples, [{"step": step, "tag": tag, "prompt": prompt, "seed": 1, "file": file}])
    return found


# The first, as each adds a run.
def test_with_no_other_run_there_is_nothing_to_compare(server: Any, visit: Any, run: RunDirectory) -> None:
    page = visit(f"{server.url}/runs")
    page.locator(".run-title", has_text=run.path.name).wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("There is no other run yet.").wait_for()
    assert page.get_by_role("dialog").count() == 0


def test_samples_stand_in_rows_by_prompt_and_new_ones_come(server: Any, visit: Any, run: RunDirectory) -> None:
    page = visit(f"{server.url}/runs")
    page.locator(".run-title", has_text=run.path.name).wait_for()
    page.get_by_text("stopped · 20 of 40", exact=False).first.wait_for()
    page.get_by_role("tab", name="Samples").click()
    page.locator(".tile").nth(5).wait_for()
    assert rows(page) == [["base", "step 20", "step 10"]] * 2, "the newest beside the base model's"
    frame = page.locator(".tile-frame").first
    page.wait_for_function("(one) => one.style.getPropertyValue('--ratio')", arg=frame.element_handle())
    box = frame.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(64 / 96, abs=0.02)
    Image.new("RGB", (64, 96)).save(run.previews / "30-0.png")
    append_rows(run.samples, [{"step": 30, "tag": "step", "prompt": "a cat", "seed": 1, "file": "30-0.png"}])
    append_rows(run.metrics, [{"step": 30, "epoch": 1, "loss": 0.5, "rates": {"lora_unet": 1e-4}}])
    page.get_by_text("stopped · 30 of 40", exact=False).first.wait_for()
    page.locator(".tile").nth(6).wait_for()
    assert rows(page) == [["base", "step 30", "step 20", "step 10"], ["base", "step 20", "step 10"]]
    page.locator(".tile").nth(1).click()
    assert page.locator(".enlarged-row").inner_text() == "step 30 · a cat"


def test_before_the_runs_are_read_nobody_is_told_that_there_are_none(
    server: Any, visit: Any, run: RunDirectory
) -> None:
    watch = """window.told = 0; setInterval(() => {
        const seen = [...document.querySelectorAll(".runs-side .small:not(.hidden)")];
        if (seen.some((one) => one.textContent === "Nothing was trained yet.")) told += 1;
    }, 5)"""
    page = visit(f"{server.url}/runs", script=watch)
    page.locator(".run-card").first.wait_for()
    assert page.evaluate("told") == 0


def test_on_a_phone_a_value_stands_below_its_name_and_not_in_a_narrow_column(
    server: Any, visit: Any, run: RunDirectory
) -> None:
    page = visit(f"{server.url}/runs", width=390, height=844)
    page.get_by_role("tab", name="Settings").click()
    name, value = (page.locator(f".settings-table {cell}").first for cell in ("th", "td"))
    name.wait_for()
    assert value.bounding_box()["y"] > name.bounding_box()["y"]
    assert value.bounding_box()["width"] > 300


def test_a_run_that_ended_early_says_from_where_it_goes_on(server: Any, visit: Any, run: RunDirectory) -> None:
    page = visit(f"{server.url}/runs")
    page.get_by_text("No state was saved yet: Resume begins at the first step.").wait_for()
    run.state_file(15).touch()
    page.get_by_text("Resume goes on from step 15, the newest that is saved.").wait_for()


def test_settings_that_were_changed_come_first(server: Any, visit: Any, run: RunDirectory) -> None:
    page = visit(f"{server.url}/runs")
    page.locator(".run-title", has_text=run.path.name).wait_for()
    assert page.locator(".settings-table").count() == 0, "they are built when they are looked at"
    page.locator(".run-place").get_by_role("tab", name="Settings").click()
    page.locator(".settings-table tr").first.wait_for()
    names = page.locator(".settings-table tr.changed th").all_inner_texts()
    assert {"Base model", "Max resolution", "Model output name"} <= {name.strip() for name in names}
    changed = page.locator(".settings-table tr").evaluate_all(
        "rows => rows.map((r) => r.className.includes('changed'))"
    )
    assert changed == sorted(changed, reverse=True)
    assert any(changed)


def rows(page: Any) -> list[list[str]]:
    """What stands under the pictures, by row."""
    found: dict[float, list[str]] = {}
    for tile in page.locator(".tile").all():
        found.setdefault(tile.bounding_box()["y"], []).append(tile.locator(".tile-size").inner_text())
    return list(found.values())


def test_a_run_is_found_by_name_and_state_and_removed(server: Any, visit: Any, run: RunDirectory) -> None:
    other = new_run_directory(server.home / "output", "owl")
    other.settings.write_text("", "utf8")
    (other.weights / "owl.safetensors").write_bytes(b"x" * 2_500_000)
    other.lock.touch()
    append_rows(other.events, [event("opened", step=0), event("started", steps=40), event("failed", reason="why")])
    page = visit(f"{server.url}/runs")
    cards = page.locator(".run-card:visible")
    name = page.get_by_label("Filter by name")
    name.fill("OWL")
    page.wait_for_function("document.querySelectorAll('.run-card:not(.hidden)').length == 1")
    assert "owl" in cards.inner_text()
    name.fill("")
    page.get_by_label("State").locator("visible=true").click()
    page.get_by_role("option", name="failed").click()
    page.wait_for_function("document.querySelectorAll('.run-card:not(.hidden)').length == 1")
    name.fill("cat")
    page.get_by_text("No run is like this.").wait_for()
    name.fill("")
    cards.first.click()
    page.locator(".run-title", has_text=other.path.name).wait_for()
    page.get_by_text("No step was taken yet.").wait_for()
    assert page.locator(".chart:visible").count() == 0
    page.locator(".run-buttons").get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(f"{other.path} goes for good: 4 files, 2.5 MB, 1 LoRA among them.").wait_for()
    assert other.path.exists()
    dialog.get_by_role("button", name="Remove").click()
    page.get_by_text(f"{other.path.name} is removed.").wait_for()
    page.locator(".run-title", has_text=re.compile("^mine-")).wait_for()
    assert not other.path.exists()


# The last, as it adds many.
@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 800)])
def test_a_run_far_down_the_list_opens_where_it_is_seen(
    server: Any, visit: Any, run: RunDirectory, width: int, height: int
) -> None:
    for number in range(40):
        other = new_run_directory(server.home / "output", f"other{number}")
        other.settings.write_text("", "utf8")
        append_rows(other.events, [event("opened", step=0), event("started", steps=40), event("stopped", step=20)])
    page = visit(f"{server.url}/runs", width=width, height=height)
    card = page.locator(".run-card", has_text=run.path.name.partition("-")[0]).last
    card.get_by_text(re.compile(r"^2023-11-1\d \d\d:\d\d$")).wait_for()
    card.scroll_into_view_if_needed()
    card.click()
    title = page.locator(".run-title", has_text=re.compile("^mine-"))
    title.wait_for()
    page.wait_for_timeout(1000)
    assert 0 <= title.bounding_box()["y"] < height / 2


def test_a_finished_run_says_where_its_lora_is_and_copies_the_path(
    server: Any, visit: Any, run: RunDirectory, tmp_path: Path
) -> None:
    lora = tmp_path / 'mi"ne.safetensors'
    save_file({"a": torch.zeros(1)}, lora)
    append_rows(run.events, [event("finished", path=str(lora))])
    page = visit(f"{server.url}/runs", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_text("copy it into ComfyUI/models/loras").wait_for()
    page.get_by_role("button", name="Copy the path").click()
    page.get_by_text("The path is copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == str(lora)
    with page.expect_download() as download:
        page.locator(".place").get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == lora.read_bytes()


def test_a_grid_of_no_strength_is_not_drawn(server: Any, visit: Any, run: RunDirectory) -> None:
    page = visit(f"{server.url}/runs")
    page.locator(".run-title").wait_for()
    page.get_by_role("button", name="Grid").click()
    dialog = page.get_by_role("dialog")
    for _ in range(3):
        dialog.locator(".q-chip__icon--remove").first.click()
    dialog.get_by_role("button", name="Draw").click()
    dialog.get_by_text("Choose at least one strength.").wait_for()


def test_a_grid_without_prompts_asks_for_one_in_the_pages_words(server: Any, visit: Any, run: RunDirectory) -> None:
    page = visit(f"{server.url}/runs")
    page.locator(".run-title").wait_for()
    page.get_by_role("button", name="Grid").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Draw").click()
    dialog.get_by_text("This run has no sample prompts; write a prompt above.").wait_for()
    assert not (run.path / "grid").exists()


def test_a_comparison_with_nothing_is_not_made(server: Any, visit: Any, run: RunDirectory) -> None:
    new_run_directory(server.home / "output", "other").settings.write_text("", "utf8")
    page = visit(f"{server.url}/runs")
    page.locator(".run-title").wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("dialog").get_by_role("button", name="Compare").click()
    page.get_by_text("Choose the runs to compare with.").wait_for()


def test_a_grid_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid").write_text("a file")
    with pytest.raises(Problem, match="cannot be written"):
        draw_grid(RunDirectory(tmp_path), "", [1.0], tmp_path / "grid" / "now")
