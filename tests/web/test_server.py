"""Where the page is served."""

import argparse
import json
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest
from nicegui.version import __version__ as nicegui_version

from tehon.cli.ui import run
from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.web.late_api import LateApi
from tehon.web.port import open_browser, take


def test_a_port_that_is_taken_or_none_at_all_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Problem, match=rf"^--port: 127.0.0.1:{port} cannot be served"):
            take("127.0.0.1", port)
    take("127.0.0.1", port)[0].close()
    with pytest.raises(Problem, match="give another port"):
        take("127.0.0.1", 99999)


@pytest.mark.parametrize("host", ["a..b", "a" * 80, ".example", "", "2001:db8::1"])
def test_a_host_that_is_none_of_this_machine_is_one_sentence_for_each(host: str) -> None:
    with pytest.raises(Problem, match=r"^--host: ") as found:
        take(host, 0)
    assert str(found.value) == (
        f"--host: this machine cannot be reached at {host!r} ({found.value.values['reason']}); "
        "give one of its names or addresses, like 127.0.0.1, or leave --host out."
    )


def test_an_empty_host_is_not_asked_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEHON_PASSWORD", raising=False)
    with pytest.raises(Problem, match=r"^--host: this machine cannot be reached at ''"):
        run(argparse.Namespace(host="", port=0, no_browser=True))


def test_an_address_that_a_name_has_twice_is_served_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))] * 2
    monkeypatch.setattr("tehon.web.port.socket.getaddrinfo", lambda *_, **__: found)
    (listener,) = take("localhost", 0)
    listener.close()


def test_who_comes_before_the_page_is_loaded_waits_for_it() -> None:
    with take("127.0.0.1", 0)[0] as listener, socket.create_connection(listener.getsockname(), timeout=5) as early:
        early.sendall(b"early")
        there, _ = listener.accept()
        with there:
            assert there.recv(5) == b"early"


def has_ipv6_loopback() -> bool:
    """Sockets that could speak IPv6 say nothing of it: a container may have them and no ::1."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_name_is_served_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is ::1 first for some browsers; where a machine lacks an address, the others are served."""
    places = [(socket.AF_INET6, "::1"), (socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1")]
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 0)) for family, address in places]
    monkeypatch.setattr("tehon.web.port.socket.getaddrinfo", lambda *_, **__: found)
    listeners = take("localhost", 0)
    monkeypatch.undo()
    addresses = [listener.getsockname()[0] for listener in listeners]
    assert addresses == (["::1", "127.0.0.1"] if has_ipv6_loopback() else ["127.0.0.1"])
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    for listener in listeners:
        with listener, socket.create_connection(listener.getsockname()[:2], timeout=5):
            pass


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("here.example", "here.example")],
)
def test_the_browser_gets_an_address_that_it_can_open(monkeypatch: pytest.MonkeyPatch, host: str, address: str) -> None:
    opened: Queue[str] = Queue()
    monkeypatch.setattr("webbrowser.open", opened.put)
    open_browser(host, 7861)
    assert opened.get(timeout=5) == f"http://{address}:7861/"


def test_neither_the_start_nor_the_tabs_load_what_is_not_looked_at() -> None:
    code = """
import sys
from tehon.cli.imports import left_out
with left_out("aiohttp", "requests", "pydantic.v1"):
    import tehon.web.train
    from tehon.web.server import serve
later = {"tehon.web.api", "tehon.planning.plan", "tehon.settings.kohya.read", "tehon.reports.comparison", "PIL"}
print(*sorted(({"aiohttp", "requests", "pydantic.v1", "numpy", "torch"} | later) & set(sys.modules)))
from tehon.web.sheets import TABS
for load in TABS.values():
    load()
print(*sorted(later & set(sys.modules)))
import requests
print(requests.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:3] == ["", "", "requests"]


def test_the_interface_for_programs_is_made_once_however_many_ask() -> None:
    late = LateApi()
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: late.made(), range(4)))) == 1


@pytest.mark.slow
def test_the_interface_for_programs_describes_itself(server: Any) -> None:
    with urllib.request.urlopen(f"{server.url}/api/openapi.json", timeout=60) as answer:
        described = json.load(answer)
    assert described["info"]["title"] == "tehon"
    assert {"/api/plan", "/api/runs/{name}/metrics", "/api/queue/{number}"} <= described["paths"].keys()
    assert all(path.startswith("/api/") for path in described["paths"])


@pytest.mark.slow
def test_the_search_is_given_the_words_of_every_setting(server: Any) -> None:
    with urllib.request.urlopen(f"{server.url}/words", timeout=60) as answer:
        words = json.load(answer)
    assert words.keys() == {field.name for field in fields()}
    card, text = words["objective.min_snr_gamma"]
    assert card == "loss"
    assert text.startswith("objective.min_snr_gamma min snr gamma ")
    assert all(text == text.lower() for _, text in words.values())


@pytest.mark.slow
def test_scripts_come_as_they_are_and_pages_packed(server: Any) -> None:
    """To a browser of this machine: packing a script takes longer than to send it."""
    packed: dict[str, str | None] = {}
    for path in ("/", "/words", f"/_nicegui/{nicegui_version}/static/nicegui.js"):
        asked = urllib.request.Request(f"{server.url}{path}", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            packed[path] = answer.headers["Content-Encoding"]
    assert list(packed.values()) == ["gzip", "gzip", None]
