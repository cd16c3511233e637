"""One server of the page for all tests that need one, and a browser."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
import pytest
from playwright.sync_api import Error, expect, sync_playwright

import tehon

expect.set_options(timeout=30_000)  # as long as Playwright waits for everything else, not five seconds
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), "")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Server:
    """A page at work in a home of its own."""

    url: str
    home: Path
    process: "subprocess.Popen[bytes]"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(home: Path, port: int, *words: str, **environment: str) -> Server:
    """Starts `tehon ui` and waits until it answers."""
    own = os.environ | {
        "PYTHONPATH": str(Path(tehon.__file__).parents[1]),
        "TEHON_DATA": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TEHON_LANG": "en",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    own.pop("PYTEST_CURRENT_TEST", None)
    home.mkdir(parents=True, exist_ok=True)
    log = (home / "server.log").open("ab")
    command = [sys.executable, "-m", "tehon", "ui", "--no-browser", "--port", str(port), *words]
    process = subprocess.Popen(command, env=own, stdout=log, stderr=log, cwd=home)
    log.close()
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/api/queue", timeout=5).close()
        except urllib.error.HTTPError:
            return Server(url, home, process)
        except OSError:
            assert process.poll() is None, (home / "server.log").read_text("utf8")
            time.sleep(0.1)
        else:
            return Server(url, home, process)
    raise AssertionError("the page did not answer")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    """A page that is open to this machine alone."""
    found = start_server(tmp_path_factory.mktemp("home"), free_port())
    yield found
    found.process.terminate()
    found.process.wait(20)


class Chromium:
    """Chromium, driven by Playwright. Once in some hundred times it never answers a request to close, for which
    Playwright waits without end; then its processes are ended, and whoever asks for a browser next gets another."""

    def __init__(self, playwright: Any) -> None:
        self._playwright = playwright
        self._browser: Any = None

    def browser(self) -> Any:
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        return self._browser

    def close(self, what: Any, patience: float = 30) -> None:
        """Closes a context or the browser."""
        timer = Timer(patience, self._end)
        timer.start()
        try:
            what.close()
        except Error:
            if self._browser.is_connected():
                raise
        finally:
            timer.cancel()

    def _end(self) -> None:
        for process in self.processes():
            process.kill()

    @staticmethod
    def processes() -> list[psutil.Process]:
        return [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]


@pytest.fixture(scope="module")
def chromium() -> Generator[Chromium, None, None]:
    if not CHROMIUM:
        pytest.skip("these tests drive Chromium, which is not here; .ci/run installs it")
    with sync_playwright() as playwright:
        found = Chromium(playwright)
        yield found
        found.close(found.browser())


@pytest.fixture
def visit(chromium: Chromium) -> Generator[Callable[..., Any], None, None]:
    """visit(url, width=1400): a page of the browser, which must not complain in its console. `script` is run before the
    page's own."""
    opened: list[Any] = []
    complaints: list[str] = []

    def open_page(url: str, width: int = 1400, height: int = 1000, script: str = "", **options: Any) -> Any:
        context = chromium.browser().new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(30_000)
        page.add_init_script(script)
        page.goto(url)
        opened.append(context)
        return page

    yield open_page
    for context in opened:
        chromium.close(context)
    assert complaints == []
