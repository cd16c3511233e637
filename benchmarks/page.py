"""How quick the page is: to start, to turn and search, with 5,000 pictures, and with a run of 10,000 steps.

    python benchmarks/page.py [--pictures N] [--steps N] [--samples N]

Starts `tehon ui` on a home of its own and drives Chromium with Playwright. All times but the start's are taken by the
page itself, from the click to the frame after what was asked for is there; the start's are from the command to what the
browser shows. Of things that are quick each is done several times, and the least counts, since other
programs may be at work; what happens only once is taken as it comes. The data set is 500 drawn photographs and hard
links to them; the run is written here, with its lock held, so that the page takes it for one at work, and grows by a
step every half second. The figures go to `benchmarks/results/page.json`.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w
from page_data import Growth, draw_pictures, write_run
from playwright.sync_api import Browser, Page, sync_playwright

from tehon.runs.known import remember
from tehon.runs.layout import RunDirectory
from tehon.runs.lock import holding

RESULT = Path(__file__).parent / "results" / "page.json"
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LIMIT = 120_000  # ms after which a thing is taken never to come
AGAIN = 5
EARLY = (300, 600, 1000)  # ms from a form that is drawn to a click on another tab
INSIDE = {"train": ".setting", "data": ".data", "runs": ".runs", "tools": ".tools"}
# ms from `act` until `there` holds and the frame after it is drawn.
TIMED = """async ([act, there, limit]) => {
    const holds = new Function(`return ${there}`);
    const start = performance.now();
    new Function(act)();
    while (!holds()) {
        if (performance.now() - start > limit) throw new Error(`not there: ${there}`);
        await new Promise((done) => setTimeout(done, 2));
    }
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    return performance.now() - start;
}"""
# ms of the longest frame while the pictures are scrolled from top to bottom in two seconds.
SCROLL = """async () => {
    const box = document.querySelector(".gallery");
    let longest = 0, before = performance.now();
    const start = before;
    while (before - start < 2000) {
        box.scrollTop = (box.scrollHeight - box.clientHeight) * (before - start) / 2000;
        const now = await new Promise(requestAnimationFrame);
        longest = Math.max(longest, now - before);
        before = now;
    }
    return longest;
}"""
# The thumbnails within the gallery's box are there, and so are all of them.
THUMBS = """(() => {
    const box = document.querySelector(".gallery")?.getBoundingClientRect();
    if (!box) return false;
    const seen = [...document.querySelectorAll(".gallery .tile img")].filter((one) => {
        const place = one.getBoundingClientRect();
        return place.bottom > box.top && place.top < Math.min(box.bottom, innerHeight);
    });
    return seen.length > 3 && seen.every((one) => one.complete && one.naturalWidth > 0);
})()"""
FIRST_BYTE = "(performance.timeOrigin + performance.getEntriesByType('navigation')[0].responseStart) / 1000"
BLOCKED = """() => {
    window.blocked = [];
    new PerformanceObserver((list) => window.blocked.push(...list.getEntries().map((one) => one.duration)))
        .observe({type: "longtask"});
}"""


class Served:
    """`tehon ui` as a process, when its port is open; who asks then has to wait until the page is loaded."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        own = os.environ | {"TEHON_DATA": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TEHON_LANG": "en"}
        home.mkdir(parents=True, exist_ok=True)
        self.began, self.started = time.time(), time.perf_counter()
        command = [sys.executable, "-m", "tehon", "ui", "--no-browser", "--port", str(port)]
        with (home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=own, stdout=log, stderr=log)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                assert self.process.poll() is None, (home / "server.log").read_text("utf8")
                time.sleep(0.005)

    def passed(self) -> float:
        return time.perf_counter() - self.started

    def memory(self, name: str = "VmRSS") -> int:
        """MB that the process holds (VmRSS) or has held (VmHWM); Linux alone can say it."""
        status = Path(f"/proc/{self.process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return round(next((int(line.split()[1]) for line in lines if line.startswith(name)), 0) / 1024)

    def computed(self) -> float:
        """Seconds that processors worked for the server."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def served(home: Path, loaded: bool = True) -> Generator[Served, None, None]:
    """With the page loaded, so that what is timed from a visit on has nothing of the start in it; else with an open
    port alone."""
    found = Served(home)
    try:
        if loaded:
            urllib.request.urlopen(f"{found.url}/words").close()
        yield found
    finally:
        found.end()


@contextmanager
def visit(browser: Browser, url: str) -> Generator[Page, None, None]:
    """A window with nothing in its cache."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(LIMIT)
    page.goto(url, wait_until="commit")
    yield page
    context.close()


def timed(page: Page, act: str, there: str) -> float:
    return round(page.evaluate(TIMED, [act, there, LIMIT]), 1)


def since_address(page: Page, there: str) -> float:
    """ms from the beginning of the visit."""
    timed(page, "", there)
    return round(page.evaluate("performance.now()"), 1)


def tab(name: str) -> str:
    return f"document.querySelector('.turn[data-name={name}]').click()"


def seen(selector: str) -> str:
    return f"document.querySelector('{selector}')?.checkVisibility({{contentVisibilityAuto: true}})"


def start(browser: Browser, folder: Path) -> dict[str, Any]:
    """Seconds from the command to the page's first byte, to a form that is drawn, and to one that has taken what was
    typed into it: the least of several starts, each with a new home and an empty browser cache. The browser is there
    before, and asks as soon as the port is open."""
    found: list[tuple[float, float, float]] = []
    for number in range(AGAIN):
        with served(folder / f"home-{number}", loaded=False) as server, visit(browser, server.url) as page:
            page.get_by_role("textbox", name="Base model", exact=True).wait_for()
            drawn = server.passed()
            page.locator(".mark", has_text="Base model is still to be chosen.").wait_for()
            page.get_by_role("textbox", name="Base model", exact=True).fill("demo")
            page.locator(".mark", has_text="Base model is still to be chosen.").wait_for(state="detached")
            follows = server.passed()
            found.append((page.evaluate(FIRST_BYTE) - server.began, drawn, follows))
    least = [round(min(times), 2) for times in zip(*found, strict=True)]
    return dict(zip(("answer_seconds", "form_seconds", "plan_follows_typing_seconds"), least, strict=True))


def turning(browser: Browser, server: Served) -> dict[str, Any]:
    """ms for a tab that is opened for the first time, for one that was, and for searches: in the page alone, and until
    the settings that the server builds for a search are there."""
    with visit(browser, server.url) as page:
        page.locator(".mark").first.wait_for()
        page.wait_for_timeout(1500)
        first = {name: timed(page, tab(name), seen(INSIDE[name])) for name in ("data", "runs", "tools")}
        page.wait_for_timeout(1500)
        again: dict[str, list[float]] = {}
        for _ in range(AGAIN):
            for name in ("runs", "tools", "data", "train"):
                again.setdefault(name, []).append(timed(page, tab(name), seen(f".{name}")))
                page.wait_for_timeout(300)
        built = "type('huber'); "
        type_in = "const type = (text) => { const box = document.querySelector('[aria-label=\"Search settings\"]'); "
        type_in += "box.value = text; box.dispatchEvent(new Event('input', {bubbles: true})); }; "
        shown = "document.querySelector('.setting[data-name=\"NAME\"]')?.offsetParent"
        server_part = timed(page, type_in + built, shown.replace("NAME", "objective.huber_c"))
        page.wait_for_timeout(500)
        words = (("rank", "network.rank"), ("shuffle", "data.shuffle_caption"))
        searched: list[float] = []
        for _ in range(AGAIN):
            for word, name in words:
                searched.append(timed(page, type_in + f"type('{word}')", shown.replace("NAME", name)))
                page.wait_for_timeout(300)
    return {
        "tab_first_ms": first,
        "tab_again_ms": {name: min(times) for name, times in again.items()},
        "search_ms": min(searched),
        "search_until_built_ms": server_part,
        "search_waits_for_letters_ms": 60,
    }


def early(browser: Browser, folder: Path, server: Served) -> dict[str, Any]:
    """ms for a tab in the first second of a window: after a form that was just drawn, for the tabs beside it; for the
    form, after the tab Runs was. In the first window of a server the tabs are also imported."""

    def once(server: Served, name: str, wait: int) -> float:
        address = f"{server.url}/runs" if name == "train" else server.url
        with visit(browser, address) as page:
            page.locator(INSIDE["runs" if name == "train" else "train"]).first.wait_for()
            page.wait_for_timeout(wait)
            return timed(page, tab(name), seen(INSIDE[name]))

    later = {
        name: {wait: min(once(server, name, wait) for _ in range(AGAIN)) for wait in EARLY}
        for name in ("data", "runs", "tools", "train")
    }
    first: dict[str, list[float]] = {}
    for number in range(AGAIN):
        for name in ("data", "runs", "tools"):
            with served(folder / f"early-{number}-{name}", loaded=False) as new:
                first.setdefault(name, []).append(once(new, name, EARLY[-1]))
    return {"tab_early_ms": later, "tab_early_in_first_window_ms": {name: min(times) for name, times in first.items()}}


def pictures(browser: Browser, server: Served) -> dict[str, Any]:
    """The tab Pictures: ms from its address to the first thumbnails, and to sizes and captions; to thumbnails in the
    middle and at the end; the longest frame while scrolling; to choose and to filter."""
    move = "const box = document.querySelector('.gallery'); box.scrollTop = box.scrollHeight"
    caption = "document.querySelector('.data-side textarea')?.value.startsWith('a thing')"
    press = "const box = document.querySelector('[aria-label=\"Filter by caption or name\"]'); box.value = TEXT; "
    press += "box.dispatchEvent(new Event('input', {bubbles: true}))"
    with visit(browser, f"{server.url}/data") as page:
        found = {"first_thumbnails_ms": since_address(page, THUMBS)}
        found["measured_ms"] = since_address(page, "document.querySelector('.tile-size')?.innerText.includes('→')")
        found["middle_ms"] = timed(page, f"{move} / 2", THUMBS)
        found["end_ms"] = timed(page, move, THUMBS)
        found["scroll_longest_frame_ms"] = round(page.evaluate(SCROLL), 1)
        page.wait_for_timeout(500)
        found["choose_ms"] = timed(page, "document.querySelectorAll('.tile')[4].click()", caption)
        page.evaluate("document.querySelector('.gallery').scrollTop = 0")
        page.wait_for_timeout(500)
        all_of_it = "(() => { const t = [...document.querySelectorAll('.tile')]; return t.length && t.every(HAS) })()"
        has = "(one) => one.innerText.includes('tag 3')"
        found["filter_ms"] = timed(page, press.replace("TEXT", "'tag 3'"), all_of_it.replace("HAS", has))
    return found


def long_run(browser: Browser, server: Served, run: RunDirectory, steps: int) -> dict[str, Any]:
    """A run's page: ms until its curves are there, its samples, its settings; while the run grows, how long the page is
    blocked at most, how old what it shows is, and the share of a core that the server works."""
    drawn = "document.querySelector('.chart.loss canvas') && document.querySelector('.run-title') "
    drawn += "&& [...document.querySelectorAll('.run-place .panel div')].some((one) => /of/.test(one.innerText))"
    inner = "[...document.querySelectorAll('.run-place [role=tab]')].find((one) => one.innerText === 'NAME').click()"
    growth = Growth(run, steps)
    with holding(run.lock) as mine, visit(browser, server.url) as page:
        assert mine
        growth.start()
        page.locator(".mark, .figure-number").first.wait_for()
        page.wait_for_timeout(1500)
        found = {"first_curves_ms": timed(page, tab("runs"), drawn)}
        found["samples_ms"] = timed(page, inner.replace("NAME", "Samples"), THUMBS)
        found["settings_ms"] = timed(page, inner.replace("NAME", "Settings"), seen(".settings-table tr"))
        timed(page, inner.replace("NAME", "Curves"), seen(".chart.loss"))
        page.wait_for_timeout(3000)
        page.evaluate(BLOCKED)
        before, began, ages = server.computed(), time.perf_counter(), []
        while time.perf_counter() - began < 20:
            text = page.locator(".run-place .panel").first.inner_text()
            shown = next((int(word) for word in text.split() if word.isdigit() and int(word) > steps), steps)
            ages.append((growth.step - shown) * 0.5)
            page.wait_for_timeout(250)
        seconds = time.perf_counter() - began
        found["growing_server_share_of_a_core"] = round((server.computed() - before) / seconds, 3)
        found["growing_page_blocked_ms"] = round(page.evaluate("Math.max(0, ...window.blocked)"), 1)
        found["growing_seconds_behind"] = round(max(ages), 1)
    growth.enough.set()
    growth.join()
    with visit(browser, f"{server.url}/runs") as page:
        found["address_to_curves_ms"] = since_address(page, drawn)
    return found


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"pictures": options.pictures, "steps": options.steps, "samples": options.samples}
    home, output = folder / "home", folder / "output"
    settings = {
        "model": {"path": "demo"},
        "data": {"folder": str(draw_pictures(folder, options.pictures)), "resolution": 256},
        "output": {"folder": str(output)},
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        found["start"] = start(browser, folder)
        with served(folder / "empty") as server:
            found["turning"] = turning(browser, server) | early(browser, folder, server)
            found["memory_mb"] = {"empty": server.memory()}
        home.mkdir()
        (home / "form.toml").write_text(tomli_w.dumps(settings), "utf8")
        with served(home) as server:
            found["data_first"] = pictures(browser, server)
            found["memory_mb"] |= {"pictures": server.memory(), "pictures_peak": server.memory("VmHWM")}
        with served(home) as server:
            found["data_again"] = pictures(browser, server)
        os.environ["TEHON_DATA"] = str(home)
        run = write_run(output, settings, options.steps, options.samples, folder / "first" / "0.jpg")
        remember(output)
        with served(home) as server:
            found["run"] = long_run(browser, server, run, options.steps)
            found["memory_mb"] |= {"run": server.memory()}
        found["browser"] = f"Chromium {browser.version}"
        browser.close()
    found |= {
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        found = measure(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
