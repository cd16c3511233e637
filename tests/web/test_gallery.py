"""The grid of pictures in a real browser: choosing, filters, and thumbnails that are sent once."""

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent of 60 pictures, written into the form."""
    parent = tmp_path_factory.mktemp("pictures")
    (parent / "1_red thing").mkdir()
    for number in range(60):
        Image.new("RGB", (64, 64), (number * 4, 90, 60)).save(parent / "1_red thing" / f"{number:02d}.png")
        (parent / "1_red thing" / f"{number:02d}.txt").write_text(f"caption {number}", "utf8")
    return parent


@pytest.fixture
def shown(server: Any, visit: Any, folder: Path) -> Any:
    """The tab Pictures with them."""
    page = visit(f"{server.url}/data")
    field = page.get_by_label("Image folder").locator("visible=true")
    page.locator(".mark, .tile").first.wait_for()
    if field.input_value() != str(folder):
        field.fill(str(folder))
        field.press("Enter")
    page.locator(".tile", has_text="caption 0").wait_for()
    return page


def test_what_is_typed_before_the_first_look_at_the_pictures_stays(server: Any, visit: Any) -> None:
    page = visit(f"{server.url}/data")
    field = page.get_by_label("Image folder").locator("visible=true")
    field.fill("/nowhere")
    page.locator(".mark, .tile").first.wait_for()
    assert field.input_value() == "/nowhere"


def test_enter_opens_what_the_field_shows_even_if_the_change_is_still_on_its_way(
    server: Any, visit: Any, tmp_path: Path
) -> None:
    """As in the page's first moments, when what the browser reports waits for the connection, each for itself."""
    (tmp_path / "1_blue thing").mkdir()
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "1_blue thing" / "blue.png")
    page = visit(f"{server.url}/data")
    page.locator(".mark, .tile").first.wait_for()
    field = page.get_by_label("Image folder").locator("visible=true")
    field.focus()  # first, since the browser then draws the field anew, with what the page knows of it
    field.evaluate("(field, text) => { field.value = text }", str(tmp_path))
    field.press("Enter")
    page.locator('.tile[title="blue.png"]').wait_for()


def chosen(page: Any) -> list[str]:
    return page.locator(".tile.chosen").evaluate_all("all => all.map((one) => one.title)")


def test_only_pictures_in_view_exist_and_the_chosen_are_marked_at_once(shown: Any) -> None:
    assert 10 < shown.locator(".tile").count() < 60
    title = shown.locator(".data-side .panel-title")
    shown.locator(".tile").nth(1).click()
    title.get_by_text("01.png").wait_for()
    shown.locator(".tile").nth(3).click(modifiers=["Control"])
    title.get_by_text("Edit 2 captions").wait_for()
    assert chosen(shown) == ["01.png", "03.png"]
    shown.locator(".tile").nth(5).click(modifiers=["Shift"])
    title.get_by_text("Edit 3 captions").wait_for()
    assert chosen(shown) == ["03.png", "04.png", "05.png"]
    shown.locator(".gallery").press("ArrowRight")
    title.get_by_text("04.png").wait_for()
    assert chosen(shown) == ["04.png"]


def test_what_a_filter_hides_is_not_chosen_with_the_next(shown: Any) -> None:
    title = shown.locator(".data-side .panel-title")
    shown.locator(".tile").nth(2).click()
    title.get_by_text("02.png").wait_for()
    shown.get_by_label("Filter by caption or name").fill("caption 5")
    shown.locator('.tile[title="02.png"]').wait_for(state="detached")
    assert shown.locator(".tile").count() == 11  # 5, and 50 to 59
    shown.locator(".tile").nth(0).click(modifiers=["Control"])
    title.get_by_text("05.png").wait_for()
    assert chosen(shown) == ["05.png"]


def test_choosing_does_not_send_all_pictures_again(shown: Any) -> None:
    heard: list[int] = []
    shown.on("websocket", lambda found: found.on("framereceived", lambda frame: heard.append(len(frame))))
    shown.reload()
    shown.locator(".tile", has_text="caption 0").wait_for()
    everything = sum(heard)
    assert everything > 60 * 150
    shown.locator(".tools").wait_for(state="attached")  # the other tabs are sent while the page is at rest
    shown.wait_for_timeout(1000)
    heard.clear()
    shown.locator(".tile").nth(1).click()
    shown.locator(".data-side .panel-title", has_text="01.png").wait_for()
    shown.wait_for_timeout(300)
    assert 0 < sum(heard) < everything / 2


def test_a_thumbnail_that_the_browser_has_is_not_sent_again(server: Any, shown: Any) -> None:
    address = server.url + shown.locator(".tile img").first.get_attribute("src")
    with urllib.request.urlopen(address) as answer:
        mark = answer.headers["ETag"]
        assert len(answer.read()) > 50
    with pytest.raises(urllib.error.HTTPError) as same:
        urllib.request.urlopen(urllib.request.Request(address, headers={"If-None-Match": mark}))
    assert same.value.code == 304
    with urllib.request.urlopen(urllib.request.Request(address, headers={"If-None-Match": '"other"'})) as answer:
        assert answer.status == 200


def test_a_picture_that_is_chosen_while_they_are_measured_stays_chosen(shown: Any) -> None:
    shown.reload()
    shown.locator(".tile").nth(2).click()
    shown.locator(".data-side .panel-title", has_text="02.png").wait_for()
    assert chosen(shown) == ["02.png"]


def test_what_is_typed_as_the_folder_outlives_a_look_at_the_pictures(shown: Any) -> None:
    field = shown.get_by_label("Image folder").locator("visible=true")
    before = field.input_value()
    field.fill("half a path")
    shown.get_by_label("Read again").locator("visible=true").click()
    shown.wait_for_timeout(1500)
    assert field.input_value() == "half a path"
    field.fill(before)


def test_the_pictures_follow_the_form_in_this_window_and_in_another(
    server: Any, visit: Any, shown: Any, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "1_blue thing").mkdir()
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "1_blue thing" / "blue.png")
    shown.locator(".chip", has_text="caption 7 1").click()
    shown.locator('.tile[title="00.png"]').wait_for(state="detached")
    shown.locator('.tile[title="07.png"]').click()
    caption = shown.get_by_label("Caption", exact=True).locator("visible=true")
    caption.fill("typed until now")
    other = visit(server.url)
    field = other.locator('.setting[data-name="data.folder"]').get_by_role("textbox")
    field.fill(str(tmp_path))
    shown.locator('.tile[title="blue.png"]').wait_for()
    shown.locator(".mark", has_text="being measured").wait_for(state="detached")
    expect(shown.locator(".tile")).to_have_count(1)  # and the filter is gone
    assert (folder / "1_red thing" / "07.txt").read_text("utf8").strip() == "typed until now"
    (folder / "1_red thing" / "07.txt").write_text("caption 7", "utf8")
    turn = other.get_by_role("tab", name="Pictures")
    turn.click()
    other.locator('.tile[title="blue.png"]').wait_for()
    other.get_by_role("tab", name="Train").click()
    field.fill(str(folder))
    other.locator('.setting[data-name="data.folder"].changed').wait_for()
    other.wait_for_timeout(800)
    turn.click()
    other.locator('.tile[title="00.png"]').wait_for()
    shown.locator('.tile[title="00.png"]').wait_for()


def test_a_caption_that_is_being_typed_is_saved_before_another_window_changes_the_language(
    server: Any, visit: Any, shown: Any, folder: Path
) -> None:
    other = visit(server.url)
    other.get_by_text("Base model").first.wait_for()
    shown.locator('.tile[title="03.png"]').click()
    shown.locator(".data-side .panel-title", has_text="03.png").wait_for()
    shown.get_by_label("Caption", exact=True).fill("typed and not left")
    file = folder / "1_red thing" / "03.txt"
    assert file.read_text("utf8") == "caption 3"
    other.get_by_label("Language").click()
    other.get_by_text("日本語").click()
    shown.get_by_role("tab", name="学習").wait_for()
    assert file.read_text("utf8") == "typed and not left\n"
    other.get_by_label("言語").click()
    other.get_by_text("English").click()
    shown.get_by_role("tab", name="Train").wait_for()


@pytest.mark.parametrize("way", ["another", "closed"])
def test_a_caption_that_is_being_typed_is_saved_when_its_picture_is_left(shown: Any, folder: Path, way: str) -> None:
    number = {"another": 10, "closed": 11}[way]
    file = folder / "1_red thing" / f"{number}.txt"
    shown.locator(f'.tile[title="{number}.png"]').click()
    shown.locator(".data-side .panel-title", has_text=f"{number}.png").wait_for()
    shown.get_by_label("Caption", exact=True).fill(f"typed {number}")
    if way == "closed":
        shown.close()
    else:  # as a finger does, after which the choice is heard of before the field's loss of the focus
        shown.locator('.tile[title="02.png"]').evaluate("(tile) => tile.click()")
        shown.locator(".data-side .panel-title", has_text="02.png").wait_for()
        assert shown.get_by_label("Caption", exact=True).input_value() == "caption 2"
    for _ in range(50):
        if file.read_text("utf8") != f"caption {number}":
            break
        time.sleep(0.1)
    assert file.read_text("utf8") == f"typed {number}\n"


def test_what_is_being_typed_outlives_a_look_at_the_pictures(shown: Any, folder: Path) -> None:
    shown.locator('.tile[title="12.png"]').click()
    shown.locator(".data-side .panel-title", has_text="12.png").wait_for()
    field = shown.get_by_label("Caption", exact=True)
    field.fill("half a caption")
    shown.get_by_label("Read again").locator("visible=true").evaluate("(button) => button.click()")
    shown.wait_for_timeout(1500)
    assert field.input_value() == "half a caption"
    field.blur()
    shown.get_by_text("1 caption changed", exact=False).first.wait_for()
    assert (folder / "1_red thing" / "12.txt").read_text("utf8") == "half a caption\n"
