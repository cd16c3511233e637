"""Draws the pictures of the page under docs/images: every tab, and a run's curves and samples, in both languages and
themes, wide and narrow.

    python tests/web/screenshots.py [HOME]

It trains the demo, so that there is something to see; with HOME it does so there, or shows what was trained there
before.
"""

import importlib.util
import json
import sys
import tempfile
import time
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

import tomli_w
from PIL import Image
from playwright.sync_api import sync_playwright

from tehon.demo.lesson import prepared

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
WIDE, NARROW = (1400, 1000), (420, 900)
COLOURS = 256  # so that the files stay small
ADDRESSES = {"train": "", "data": "data", "run": "runs", "samples": "runs", "tools": "tools"}


def _helpers() -> Any:
    spec = importlib.util.spec_from_file_location("web_conftest", HERE / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_conftest"] = module
    spec.loader.exec_module(module)
    return module


def _call(url: str, tree: dict[str, Any] | None = None) -> Any:
    data = None if tree is None else json.dumps(tree).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def _trained(url: str, home: Path) -> None:
    tree = prepared(home / "demo")
    tree["training"] |= {"max_train_steps": 270, "epochs": 5}
    tree["output"]["save_every_n_epochs"] = 1
    tree["samples"] = {
        "prompts": "a picture of mofu on the left --l 3 --s 16 --d 100\nmofu on a gray background --l 3 --s 16 --d 101",
        "every_n_steps": 90,
    }
    _call(f"{url}/api/runs", tree)
    tree["data"]["folder"] = "demo/pictures"
    tree["output"] |= {"folder": "demo", "name": "mofu2"}  # the first name is taken
    tree["network"] |= {"down_lr_weight": "reverse_linear+0.2", "up_lr_weight": "sine+0.2"}
    (home / "form.toml").write_text(tomli_w.dumps(tree), "utf8")
    while _call(f"{url}/api/runs")[0]["at_work"]:
        time.sleep(2)


def _show(page: Any, name: str, language: str) -> None:
    """Brings what the picture is about to the front."""
    if name == "train":
        page.locator(".figure-number").first.wait_for(timeout=60_000)
    elif name == "data":
        page.locator(".tile").nth(2).click()
    elif name == "run":
        page.locator(".chart.loss canvas").wait_for()
    elif name == "samples":
        page.get_by_role("tab", name={"en": "Samples", "ja": "サンプル"}[language], exact=True).click()
        page.locator(".tile").first.wait_for()
    else:
        page.get_by_label("LoRA", exact=True).locator("visible=true").fill("demo/mofu.safetensors")
        page.get_by_role("button", name={"en": "Show", "ja": "表示"}[language], exact=True).click()
        page.locator(".chart.norms canvas").wait_for(timeout=120_000)


def _shoot(page: Any, url: str, name: str, language: str, theme: str) -> None:
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    page.goto(f"{url}/{ADDRESSES[name]}")
    _show(page, name, language)
    for end, (width, height) in (("", WIDE), ("-narrow", NARROW)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(1500)
        shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
        few = shot.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}-{theme}-{language}{end}.png", optimize=True)


def main() -> None:
    helpers = _helpers()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home, port = Path(sys.argv[1] if sys.argv[1:] else folder).absolute(), helpers.free_port()
        server = helpers.start_server(home, port)
        if not (home / "demo" / "mofu.safetensors").exists():
            _trained(server.url, home)
        browser = playwright.chromium.launch(executable_path=helpers.CHROMIUM, args=helpers.FLAGS)
        for language in ("en", "ja"):
            server.process.terminate()
            server.process.wait()
            (home / "preferences.json").write_text(json.dumps({"language": language}), "utf8")
            server = helpers.start_server(home, port, TEHON_LANG=language)
            for theme in ("light", "dark"):
                page = browser.new_page(color_scheme=theme)
                for name in ADDRESSES:
                    _shoot(page, server.url, name, language, theme)
                page.close()
        browser.close()
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
