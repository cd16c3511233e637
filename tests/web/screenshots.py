"""Draws the pictures of the page under docs/images: every tab in both languages and themes, wide and narrow.

    python tests/web/screenshots.py

It trains the demo for a few steps, so that there is something to see.
"""

import importlib.util
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tehon.demo.lesson import prepared

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
WIDE, NARROW = (1400, 1000), (420, 900)


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
    tree["training"] |= {"max_train_steps": 60, "epochs": 4}
    tree["output"]["save_every_n_epochs"] = 1
    tree["samples"] = {
        "prompts": "a picture of mofu on the left\nmofu on a dotted gray background",
        "every_n_steps": 30,
    }
    _call(f"{url}/api/runs", tree)
    (home / "form.toml").write_text(_toml(tree), "utf8")
    while _call(f"{url}/api/runs")[0]["at_work"]:
        time.sleep(2)


def _toml(tree: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(tree)


def _shoot(browser: Any, url: str, name: str, language: str, theme: str, size: tuple[int, int]) -> None:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.goto(f"{url}/{'' if name == 'train' else name.replace('run', 'runs')}")
    if name == "train":
        page.locator(".figure-number").first.wait_for(timeout=60_000)
    elif name == "data":
        page.locator(".tile").nth(2).click()
    else:
        page.get_by_role("tab", name={"en": "Samples", "ja": "サンプル"}[language], exact=True).click()
        page.locator(".tile").first.wait_for()
    page.wait_for_timeout(1500)
    narrow = "-narrow" if size == NARROW else ""
    page.screenshot(path=IMAGES / f"{name}-{theme}-{language}{narrow}.png")
    page.close()


def main() -> None:
    helpers = _helpers()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home, port = Path(folder), helpers.free_port()
        server = helpers.start_server(home, port)
        _trained(server.url, home)
        browser = playwright.chromium.launch(executable_path=helpers.CHROMIUM, args=helpers.FLAGS)
        for language in ("en", "ja"):
            server.process.terminate()
            server.process.wait()
            (home / "preferences.json").write_text(json.dumps({"language": language}), "utf8")
            server = helpers.start_server(home, port, TEHON_LANG=language)
            for theme in ("light", "dark"):
                for name in ("train", "data", "run"):
                    _shoot(browser, server.url, name, language, theme, WIDE)
            _shoot(browser, server.url, "train", language, "light", NARROW)
        browser.close()
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
