"""The form in a real browser: what replaces it can be taken back, and every window shows the same."""

from pathlib import Path
from typing import Any

import pytest

from tehon.settings.files import read_toml

pytestmark = pytest.mark.slow


def row(page: Any, name: str) -> Any:
    return page.locator(f'.setting[data-name="{name}"]').get_by_role("textbox")


def choose_preset(page: Any, name: str, *ticked: str) -> None:
    page.get_by_role("button", name="Presets").click()
    for addition in ticked:
        page.locator(".q-menu").get_by_text(addition, exact=True).click()
    page.locator(".q-menu").get_by_text(name, exact=True).click()


def test_what_a_preset_changed_is_listed_leads_to_its_setting_and_can_be_undone(server: Any, visit: Any) -> None:
    page = visit(server.url)
    row(page, "network.rank").fill("24")
    page.locator('.setting[data-name="network.rank"].changed').wait_for()
    choose_preset(page, "Style", "SDXL")
    bar = page.locator(".replaced")
    bar.get_by_text("Style + SDXL: 13 settings changed.").wait_for()
    assert row(page, "network.rank").input_value() == "32"
    bar.get_by_role("button", name="Rate of caption dropout: 0 → 0.05").click()
    page.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Rate of caption dropout'")
    choose_preset(page, "Character")  # with SDXL still ticked
    bar.get_by_role("button", name="Rate of caption dropout: 0.05 → 0").wait_for()
    page.reload()
    bar.get_by_text("Character + SDXL: ").wait_for()
    bar.get_by_role("button", name="Undo").click()
    bar.get_by_text("Style + SDXL: ").wait_for()
    bar.get_by_role("button", name="Undo").click()
    bar.wait_for(state="hidden")
    assert row(page, "network.rank").input_value() == "24"
    assert read_toml(server.home / "form.toml") == {"network": {"rank": 24}}


def test_all_windows_show_the_same_form_and_what_is_being_typed_stays(server: Any, visit: Any) -> None:
    page, other = visit(server.url), visit(server.url)
    for window in (page, other):
        row(window, "samples.prompts").wait_for(state="attached")  # the last that comes
    row(page, "network.alpha").fill("8.50")
    other.wait_for_function("document.querySelector('[aria-label=\"Network alpha\"]').value === '8.5'")
    assert row(page, "network.alpha").input_value() == "8.50"
    row(other, "output.name").fill("owl")
    page.wait_for_function("document.querySelector('[aria-label=\"Model output name\"]').value === 'owl'")
    choose_preset(page, "Style")
    bar = other.locator(".replaced")
    bar.get_by_text("Style: ").wait_for()
    assert row(other, "network.alpha").input_value() == "16"
    bar.get_by_role("button", name="Undo").click()
    page.locator(".replaced").wait_for(state="hidden")
    assert row(page, "network.alpha").input_value() == "8.5"
    (server.home / "form.toml").write_text("[network]\nalpha = 3.0\n", "utf8")  # as another server does
    for window in (page, other):
        window.wait_for_function("document.querySelector('[aria-label=\"Network alpha\"]').value === '3'")
        assert row(window, "output.name").input_value() == "last"


def test_a_form_that_cannot_be_kept_says_so_and_goes_on(server: Any, visit: Any) -> None:
    page, file = visit(server.url), server.home / "form.toml"
    file.unlink(missing_ok=True)
    file.mkdir()
    try:
        row(page, "network.rank").fill("0")
        page.locator(".q-notification").get_by_text("form.toml: this cannot be written").wait_for()
        wrong = page.locator(".panel-body").get_by_text("0 does not fit")
        wrong.wait_for()
    finally:
        file.rmdir()
    row(page, "network.rank").fill("24")
    wrong.wait_for(state="hidden")
    assert read_toml(file)["network"]["rank"] == 24


def test_a_form_that_was_broken_by_hand_is_told_until_that_is_closed(server: Any, visit: Any) -> None:
    page = visit(server.url)
    row(page, "network.rank").wait_for()
    (server.home / "form.toml").write_text("[network\nrank = 3\n", "utf8")
    page.wait_for_timeout(2500)  # until the page has seen it
    row(page, "network.rank").fill("5")
    bar = page.locator(".form-kept", has_text="The saved form could not be read whole")
    bar.get_by_text(str(server.home / "form-kept-1.toml")).wait_for()
    bar.get_by_role("button", name="Close").click()
    bar.wait_for(state="hidden")
    assert (server.home / "form-kept-1.toml").read_text("utf8") == "[network\nrank = 3\n"


def test_a_form_that_can_neither_be_read_nor_saved_at_the_start_is_told_until_it_is_saved(
    visit: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    helpers: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    file = tmp_path / "form.toml"
    file.mkdir()
    server = helpers.start_server(tmp_path, helpers.free_port())
    try:
        page = visit(server.url)
        bar = page.locator(".form-kept", has_text="what is set here is not saved")
        bar.get_by_text(f"{file}: this cannot be written").wait_for()
        file.rmdir()
        row(page, "network.rank").fill("24")
        bar.wait_for(state="hidden")
        assert read_toml(file)["network"]["rank"] == 24
    finally:
        server.process.terminate()
        server.process.wait(20)


def test_a_demo_that_cannot_be_written_is_said(server: Any, visit: Any) -> None:
    page = visit(server.url)
    (server.home / "demo").write_text("a file")
    choose_preset(page, "Demo")
    page.locator(".q-notification").get_by_text(str(server.home / "demo")).wait_for()
