"""Who is let in, what is readable, and that names stay names."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from nicegui.version import __version__ as nicegui_version
from PIL import Image

import tehon

pytestmark = pytest.mark.slow


def ask(url: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """(status, text) of a request with exactly these headers."""
    place = urlsplit(url)
    line = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=30)
    line.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        line.putheader(name.replace("_", "-"), value)
    if body is not None and "Content_Length" not in headers:
        line.putheader("Content-Length", str(len(body)))
    line.endheaders(body)
    answer = line.getresponse()
    found = answer.status, answer.read().decode("utf8", "replace")
    line.close()
    return found


def test_a_name_that_is_not_ours_is_refused(server: Any) -> None:
    """A foreign page whose name was pointed at this machine (DNS rebinding)."""
    status, text = ask(server.url, "/api/runs", Host="evil.example:7861")
    assert status == 403
    assert "evil.example" in text
    assert ask(server.url, "/api/runs", Host="localhost:1")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused_for_requests_and_websockets(server: Any, origin: str) -> None:
    assert ask(server.url, "/api/runs", "POST", b"{}", Origin=origin, Content_Type="application/json")[0] == 403
    status, _ = ask(
        server.url,
        "/_nicegui_ws/socket.io/?EIO=4&transport=websocket",
        Origin=origin,
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert status == 403


def test_our_own_origin_is_let_in(server: Any) -> None:
    status, text = ask(server.url, "/api/plan", "POST", b"{}", Origin=server.url, Content_Type="application/json")
    assert status == 422
    assert json.loads(text)["problems"][0]["field"] == "model.path"


@pytest.mark.parametrize(
    "path",
    [
        "/thumb/../../../../etc/passwd",
        "/thumb/..%2f..%2f..%2fetc%2fpasswd",
        "/large/%2fetc%2fpasswd",
        "/made/..%2f..%2fetc%2fpasswd",
        "/api/runs/..%2f..%2fetc",
        "/_nicegui/../../etc/passwd",
    ],
)
def test_no_address_leads_to_a_file(server: Any, path: str) -> None:
    status, text = ask(server.url, path)
    assert status in (404, 422)
    assert "root:" not in text


@pytest.mark.parametrize("name", ["%00.js", f"{'a' * 300}.js", "..%2fversion.py"])
def test_a_script_that_cannot_be_is_not_found(server: Any, name: str) -> None:
    assert ask(server.url, f"/_nicegui/{nicegui_version}/static/{name}")[0] == 404


def test_a_picture_has_no_address_before_it_was_shown(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    assert ask(server.url, f"/thumb/{'0' * 24}")[0] == 404


def test_an_oversized_request_is_refused_before_it_is_read(server: Any) -> None:
    status, text = ask(server.url, "/api/plan", "POST", b"", Content_Length=str(10**9), Origin=server.url)
    assert status == 413
    assert "64 MB" in text
    assert ask(server.url, "/api/plan", "POST", b"", Content_Length="x")[0] in (400, 413)


def test_another_address_needs_a_password() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(tehon.__file__).parents[1]), "TEHON_LANG": "en"}
    environment.pop("TEHON_PASSWORD", None)
    done = subprocess.run(
        [sys.executable, "-m", "tehon", "ui", "--host", "0.0.0.0", "--no-browser"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("--host: at 0.0.0.0 others can reach the page")
    assert "Traceback" not in done.stderr


def test_with_a_password_nothing_is_told_before_the_login(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    helpers = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    server = helpers.start_server(tmp_path, helpers.free_port(), "--host", "0.0.0.0", TEHON_PASSWORD="geheim")
    try:
        script = f"/_nicegui/{nicegui_version}/static/nicegui.js"
        for path in ("/", "/words", "/api/runs", "/api/openapi.json", "/thumb/0", script):
            assert ask(server.url, path)[0] == 401
        form = {"Content_Type": "application/x-www-form-urlencoded", "Origin": server.url}
        assert ask(server.url, "/login", "POST", b"password=wrong", **form)[0] == 401
        place = urlsplit(server.url)
        line = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=30)
        line.request("POST", "/login", b"password=geheim", {"Content-Type": "application/x-www-form-urlencoded"})
        answer = line.getresponse()
        cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        line.close()
        assert answer.status == 303
        assert ask(server.url, "/api/runs", Cookie=cookie) == (200, "[]")
        assert ask(server.url, "/api/runs", Cookie="tehon=guess")[0] == 401
    finally:
        server.process.terminate()
        server.process.wait(20)


SCRIPT = "<img src=x onerror=\"document.title='broken into'\"><script>document.title='broken into'</script>"


def test_scripts_in_captions_names_and_prompts_are_shown_and_not_run(server: Any, visit: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "1_<b>bold<b>"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(folder / "<img src=x>.png")
    (folder / "<img src=x>.txt").write_text(SCRIPT, "utf8")
    page = visit(f"{server.url}/data")
    field = page.get_by_label("Image folder").locator("visible=true")  # the form has one too, behind
    field.fill(str(tmp_path / "pictures"))
    field.press("Enter")
    tile = page.locator(".tile")
    tile.get_by_text("onerror").first.wait_for()  # captions come after names
    assert SCRIPT.partition(",")[0] in tile.inner_text().replace("\n", "")
    tile.click()
    page.get_by_label("Caption", exact=True).wait_for()
    page.goto(f"{server.url}/")
    page.get_by_role("textbox", name="Sample prompts", exact=True).fill(SCRIPT)
    page.get_by_role("textbox", name="Model output name", exact=True).fill(SCRIPT)
    page.locator(".mark.problem").first.wait_for()
    assert page.title() == "tehon"
    assert page.locator("img[src=x]").count() == 0
