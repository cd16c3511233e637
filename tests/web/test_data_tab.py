"""The tab Pictures and the form: which pictures are read when, in a real browser."""

import asyncio
import os
import resource
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w
from PIL import Image
from playwright.sync_api import expect

from tehon.web import data_tab
from tehon.web.data_tab import DataTab


def pictures_in(parent: Path, count: int, size: tuple[int, int] = (96, 64)) -> Path:
    """The parent of a folder with the same picture so many times."""
    folder = parent / "3_thing"
    folder.mkdir(parents=True)
    Image.new("RGB", size, "blue").save(folder / "0.png")
    for number in range(1, count):
        os.link(folder / "0.png", folder / f"{number}.png")
    return parent


def setting(page: Any, name: str) -> Any:
    return page.locator(f'.setting[data-name="{name}"] input')


@pytest.fixture
def form(server: Any, visit: Any, tmp_path: Path) -> Any:
    """The form with four pictures and a model."""
    pictures = pictures_in(tmp_path / "first", 4)
    tree = {"data": {"folder": str(pictures)}, "model": {"path": "demo"}, "output": {"folder": str(tmp_path)}}
    (server.home / "form.toml").write_text(tomli_w.dumps(tree), "utf8")
    page = visit(server.url)
    expect(setting(page, "data.folder")).to_have_value(str(pictures))
    expect(setting(page, "output.folder")).to_have_value(str(tmp_path))
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    return page


def open_folder(page: Any, folder: Path) -> None:
    page.get_by_role("tab", name="Pictures").click()
    page.locator(".tile, .sentences .mark").first.wait_for()
    field = page.locator(".data-main input").first
    field.fill(str(folder))
    field.press("Enter")


@contextmanager
def nothing_can_be_written(process: int) -> Generator[None, None, None]:
    _, most = before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (5, most))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_form_that_cannot_be_saved_shows_the_pictures_that_it_would_train(
    server: Any, visit: Any, form: Any, tmp_path: Path
) -> None:
    other = visit(server.url)
    expect(setting(other, "data.folder")).to_have_value(str(tmp_path / "first"))
    pictures_in(tmp_path / "second", 2)
    with nothing_can_be_written(server.process.pid):
        open_folder(form, tmp_path / "second")
        form.locator(".q-notification", has_text="form.toml").wait_for()
        expect(form.locator(".tile")).to_have_count(2)
        for page in (form, other):
            expect(setting(page, "data.folder")).to_have_value(str(tmp_path / "second"))
            page.locator(".figure-number", has_text="2").first.wait_for(state="attached")


@pytest.mark.slow
def test_while_a_folder_is_read_the_form_has_it_and_heeds_what_is_changed_meanwhile(
    server: Any, visit: Any, form: Any, tmp_path: Path
) -> None:
    other = visit(server.url)
    start = other.get_by_role("button", name="Start training")
    expect(start).to_be_enabled()
    pictures_in(tmp_path / "many", 2000, (300, 200))
    open_folder(form, tmp_path / "many")
    measured = form.locator(".mark", has_text="being measured")
    measured.wait_for()
    expect(setting(other, "data.folder")).to_have_value(str(tmp_path / "many"))
    assert measured.is_visible(), "the pictures are still being read"
    assert start.is_disabled(), "what is shown is a plan of other pictures"
    setting(other, "data.resolution").fill("64")
    setting(other, "data.resolution").blur()
    measured.wait_for(state="detached")
    expect(form.locator(".tile").first).to_contain_text("300×200 → 64×")


@pytest.mark.slow
def test_a_mistake_that_hid_the_pictures_is_gone_when_it_is_mended(form: Any, tmp_path: Path) -> None:
    train, pictures = (form.get_by_role("tab", name=name) for name in ("Train", "Pictures"))
    said = form.locator(".sentences .mark.problem")
    for name, wrong, right in (("network.rank", "0", "8"), ("model.path", "/nowhere.safetensors", "demo")):
        setting(form, name).fill(wrong)
        form.locator(".panel .mark.problem").wait_for()
        pictures.click()
        said.wait_for()
        train.click()
        setting(form, name).fill(right)
        form.locator(".panel .mark.problem").wait_for(state="detached")
        pictures.click()
        said.wait_for(state="detached")
        expect(form.locator(".tile")).to_have_count(4)
        train.click()


@pytest.mark.slow
def test_a_caption_that_is_being_typed_outlives_a_mistake_in_another_window_and_a_full_disk(
    server: Any, visit: Any, form: Any, tmp_path: Path
) -> None:
    other = visit(server.url)
    batch = setting(other, "data.batch_size")
    form.get_by_role("tab", name="Pictures").click()
    form.locator('.tile[title="2.png"]').click()
    form.locator(".data-side .panel-title", has_text="2.png").wait_for()
    caption, file = form.get_by_label("Caption", exact=True), tmp_path / "first" / "3_thing" / "2.txt"
    caption.fill("typed with care")
    batch.fill("0")
    said = form.locator(".sentences .mark.problem")
    said.wait_for()
    expect(caption).to_have_value("typed with care")
    with nothing_can_be_written(server.process.pid):
        caption.blur()
        form.locator(".q-notification", has_text="2.txt").wait_for()
        expect(caption).to_have_value("typed with care")
        assert not file.exists()
    caption.focus()
    caption.blur()
    form.get_by_text("1 caption changed").wait_for()
    assert file.read_text("utf8") == "typed with care\n"
    batch.fill("1")
    said.wait_for(state="detached")
    expect(caption).to_have_value("typed with care")


def test_the_pictures_are_read_once_when_the_form_has_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tab without its page: the timers are asyncio's."""
    begun: list[asyncio.Task[None]] = []

    def timer(seconds: float, call: Callable[[], Any], once: bool) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            await call()

        begun.append(asyncio.create_task(later()))

    tab: Any = DataTab.__new__(DataTab)
    tab.stale, tab.turn, tab.desk, tab.gallery = False, 0, SimpleNamespace(front="data"), nullcontext()
    tab.album, tab.working = SimpleNamespace(trouble=""), asyncio.Lock()
    reads: list[int] = []

    async def load() -> None:
        tab.stale = False
        reads.append(len(changes))

    tab.load = load
    monkeypatch.setattr(data_tab, "ui", SimpleNamespace(timer=timer))
    monkeypatch.setattr(data_tab, "_WAIT", 0.1)
    changes: list[str] = []

    async def type_something() -> None:
        for _ in range(8):
            changes.append("data.folder")
            tab._changed(changes[-1:])
            await asyncio.sleep(0.06)
        await asyncio.gather(*begun)

    with ThreadPoolExecutor() as beside:  # as Playwright has a loop at work in this thread
        beside.submit(asyncio.run, type_something()).result()
    assert reads == [8]
