"""What stands beside the form, in a real browser: whether a run can start, and what went wrong."""

import asyncio
import json
import os
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from PIL import Image
from playwright.sync_api import expect

from tehon.catalog import hub
from tehon.catalog.detect import demo_folder
from tehon.messages.catalogue import say
from tehon.web import plan_panel
from tehon.web.plan_panel import PlanPanel

pytestmark = pytest.mark.slow
# Whether what is shown is of settings that are no more, and none of them can be started.
WAITS = """() => document.querySelector(".panel-body.stale") &&
    [...document.querySelectorAll(".panel-buttons .q-btn")].every((one) => one.disabled)"""


def choose_preset(page: Any, name: str) -> None:
    page.get_by_role("button", name="Presets").click()
    page.get_by_text(name, exact=True).click()


@pytest.fixture
def demo(server: Any, visit: Any) -> Any:
    """The form with the demo's settings. It is empty before: of settings that are there already nobody could tell when
    the preset has come, and it would replace what a test has typed meanwhile."""
    (server.home / "form.toml").write_text("")
    page = visit(server.url)
    page.get_by_text("For the first time?").wait_for()
    choose_preset(page, "Demo")
    page.locator(".figure-number", has_text="176").wait_for()
    return page


def test_a_name_that_is_taken_stands_beside_the_form_and_nothing_can_start(server: Any, demo: Any) -> None:
    start, later = (demo.get_by_role("button", name=name) for name in ("Start training", "Add to queue"))
    expect(start).to_be_enabled()
    (server.home / "demo" / "taken.safetensors").write_bytes(b"")
    name = demo.locator('.setting[data-name="output.name"] input')
    name.fill("taken")
    demo.locator(".mark.problem", has_text="taken.safetensors").wait_for()
    assert start.is_disabled()
    assert later.is_disabled()
    name.fill("free")
    demo.locator(".mark.problem").wait_for(state="detached")
    expect(start).to_be_enabled()


def test_a_file_that_is_none_is_told_in_a_banner_that_can_be_closed(demo: Any) -> None:
    demo.get_by_role("button", name="Load").click()
    broken = {"name": "mine.toml", "mimeType": "text/plain", "buffer": b"[["}
    demo.locator("input[type=file]").set_input_files(broken)
    close = demo.locator(".q-notification").get_by_role("button", name="Close")
    close.wait_for()
    assert close.evaluate("(one) => getComputedStyle(one).color") == "rgb(255, 255, 255)"
    close.click()
    close.wait_for(state="detached")


def test_while_a_plan_is_made_the_one_before_is_dim_and_cannot_be_started(demo: Any) -> None:
    start = demo.get_by_role("button", name="Start training")
    expect(start).to_be_enabled()
    demo.locator('.setting[data-name="training.max_train_steps"] input').fill("8")
    demo.wait_for_function(WAITS)
    demo.locator(".figure-number", has_text="8").first.wait_for()
    figures = demo.locator(".figure").all_inner_texts()
    assert [text.split() for text in figures] == [["176", "pictures"], ["8", "steps"], ["1", "epoch"]]
    demo.locator(".panel-body.stale").wait_for(state="detached")
    expect(start).to_be_enabled()


def test_on_a_phone_the_start_stays_in_sight_with_what_is_missing_or_will_happen(server: Any, visit: Any) -> None:
    page = visit(server.url, width=390, height=844)
    start, short = page.get_by_role("button", name="Start training"), page.locator(".in-short")
    choose_preset(page, "Demo")
    short.get_by_text("176 pictures, 270 steps").wait_for()
    for place in (0, 3000, 1_000_000):
        page.evaluate("(place) => window.scrollTo(0, place)", place)
        page.wait_for_timeout(300)
        box = start.bounding_box()
        assert 700 < box["y"] < 844 - box["height"]
    ends = "[...document.querySelectorAll('.side .panel-body > *')].at(-1).getBoundingClientRect().bottom"
    assert page.evaluate(ends) < box["y"], "what is last on the page is not covered by it"
    row = page.locator('.setting[data-name="network.rank"]').get_by_role("textbox")
    row.fill("none")
    short.get_by_text("Network rank (dimension): ").wait_for()
    page.evaluate("window.scrollTo(0, 0)")
    short.click()
    page.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Network rank (dimension)'")
    assert start.is_disabled()


def test_a_sentence_names_settings_by_their_labels_and_leads_to_each(demo: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    demo.locator('.setting[data-name="data.folder"] input').fill(str(tmp_path))
    sentence = demo.locator(
        ".mark.problem", has_text=f"Image folder: pictures lie directly in {tmp_path}; set “Repeats”"
    )
    sentence.get_by_role("button", name="“Repeats”").click()
    demo.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Repeats'")
    sentence.get_by_role("button", name="Image folder").click()
    demo.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Image folder'")
    demo.get_by_role("tab", name="Pictures").click()
    demo.locator(".sentences").get_by_role("button", name="“Repeats”").click()
    demo.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Repeats'")


def test_while_a_model_is_looked_up_at_the_hub_that_is_said(
    visit: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The hub is a server here that never answers."""
    helpers: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    with socket.create_server(("127.0.0.1", 0)) as hub:
        address = f"http://127.0.0.1:{hub.getsockname()[1]}"
        server = helpers.start_server(tmp_path, helpers.free_port(), HF_ENDPOINT=address, HF_HUB_OFFLINE="0")
        try:
            page = visit(server.url)
            choose_preset(page, "Demo")
            page.locator(".figure-number", has_text="176").wait_for()
            model = page.locator('.setting[data-name="model.path"]').get_by_role("textbox")
            model.fill("somebody/model")
            said = page.locator(".lookup", has_text="somebody/model is being looked up on the Hugging Face hub")
            said.wait_for()
            assert page.evaluate(WAITS), "the plan before is dimmed and can't be started"
            model.fill("demo")
            said.wait_for(state="hidden")
            page.locator(".panel-body.stale").wait_for(state="detached")
            assert page.get_by_role("button", name="Start training").is_enabled()
        finally:
            server.process.kill()
            server.process.wait(20)


def test_a_lookup_is_told_of_the_plan_s_own_model_and_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel without its page."""
    name, asking = "web.looking_up", cast(Any, hub)
    monkeypatch.setattr(plan_panel, "_SLOW", 0.02)
    lookup, short = Mock(), Mock()
    panel: Any = SimpleNamespace(turn=1, lookup=lookup, short=short, in_short="176 pictures")

    async def looked_up() -> list[tuple[bool, str]]:
        saying = asyncio.create_task(cast(Any, PlanPanel)._say_lookup(panel, 1, "typed/now"))
        seen: list[tuple[bool, str]] = []
        for repository in ("typed/before", "typed/now", "elsewhere"):
            with asking._asking(repository):
                await asyncio.sleep(0.1)
                seen.append((lookup.set_visibility.call_args.args[0], short.text))
        panel.turn = 2
        await saying
        return seen

    with ThreadPoolExecutor() as beside:  # as Playwright has a loop at work in this thread
        found = beside.submit(asyncio.run, looked_up()).result()
    at_rest = (False, "176 pictures")
    assert found == [at_rest, (True, say(name, path="typed/now")), at_rest]


def test_of_a_cached_model_no_lookup_is_told_however_long_its_plan_takes(
    visit: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    helpers: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    cached, commit = tmp_path / "hub" / "models--somebody--model", "0" * 40
    shutil.copytree(demo_folder(), cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    pictures = tmp_path / "pictures" / "1_thing"
    pictures.mkdir(parents=True)
    Image.new("RGB", (256, 256)).save(pictures / "0.png")
    for number in range(1, 3000):
        os.link(pictures / "0.png", pictures / f"{number}.png")
    server = helpers.start_server(tmp_path, helpers.free_port(), HF_HUB_CACHE=str(tmp_path / "hub"))
    try:
        page = visit(server.url)
        page.evaluate(
            "window.said = 0; setInterval(() => { said += document.querySelector('.lookup').checkVisibility() })"
        )
        for name, text in (("model.path", "somebody/model"), ("output.folder", str(tmp_path / "out"))):
            page.locator(f'.setting[data-name="{name}"] input').fill(text)
        page.locator('.setting[data-name="data.folder"] input').fill(str(tmp_path / "pictures"))
        page.locator(".panel .q-spinner").wait_for()
        began = time.monotonic()
        page.locator(".figure-number", has_text="3000").first.wait_for()
        assert time.monotonic() - began > 1.2, "else nothing could have been told"
        assert page.evaluate("said") == 0
    finally:
        server.process.terminate()
        server.process.wait(20)


def test_what_is_wrong_with_pictures_is_told_before_all_else_is_chosen(
    visit: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    helpers: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    (tmp_path / "cats").mkdir()
    Image.new("RGB", (640, 640)).save(tmp_path / "cats" / "a.png")
    server = helpers.start_server(tmp_path / "home", helpers.free_port())
    try:
        page = visit(server.url)
        page.locator('.setting[data-name="data.folder"] input').fill(str(tmp_path / "cats"))
        page.locator(".panel .mark.problem", has_text="pictures lie directly in").wait_for()
        open_ones = page.locator(".panel .mark.needed")
        assert open_ones.all_inner_texts() == [
            "edit\nBase model is still to be chosen.",
            "edit\nOutput folder is still to be chosen.",
        ]
        page.locator('.setting[data-name="model.path"] input').fill("/nowhere/model.safetensors")
        page.locator(".panel .mark.problem", has_text="/nowhere/model.safetensors").wait_for()
        page.locator('.setting[data-name="model.path"] input').fill("demo")
        (tmp_path / "cats").rename(tmp_path / "3_cats")
        page.locator('.setting[data-name="data.folder"] input').fill(str(tmp_path))
        expect(page.locator(".panel .mark")).to_have_text(["editOutput folder is still to be chosen."])
        assert page.locator(".figure-number").count() == 0, "nothing is shown of a plan with stand-ins"
        assert page.get_by_role("button", name="Start training").is_disabled()
        form = f"[data]\nfolder = {json.dumps(str(tmp_path))}\nbucket_no_upscale = false\n"
        (tmp_path / "home" / "form.toml").write_text(form, "utf8")
        wanted = ["editBase model is still to be chosen.", "editOutput folder is still to be chosen."]
        expect(page.locator(".panel .mark")).to_have_text(wanted)  # the stand-in's own resolution is nobody's mistake
    finally:
        server.process.terminate()
        server.process.wait(20)


def test_lines_of_the_plan_stand_alone_here(demo: Any) -> None:
    demo.get_by_text("Steps: 320 readings / 4 at once in 1 bucket").wait_for()
    demo.get_by_text("Network: lora, rank 16").wait_for()
