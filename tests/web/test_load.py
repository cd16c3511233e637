"""Files that are loaded into the form: what is wrong with them, under the name that the person gave."""

import tempfile
from typing import Any

import pytest

from tehon.messages.problem import Problem
from tehon.web.toolbar import load


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.json", b"{"),
        ("mine.json", b'{"nothing": 1}'),
        ("mine.toml", b"[["),
        ("mine.toml", b"[nothing]\nof = 'ours'"),
        ("mine.toml", b"[[datasets]]\nresolution = 'wide'"),
        ("mine.sh", b"echo 'open"),
        ("mine.txt", b"nothing"),
        ("mine.safetensors", b"none"),
    ],
)
def test_what_is_wrong_with_a_file_names_it_as_the_person_knows_it(name: str, content: bytes) -> None:
    with pytest.raises(Problem) as found:
        load(f"folder\\{name}", content)
    assert tempfile.gettempdir() not in str(found.value)


@pytest.mark.slow
def test_after_a_broken_file_the_next_is_taken(server: Any, visit: Any) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Load").click()
    upload = page.locator("input[type=file]")
    for content in (b"[[", b"[network]\nrank = 12\n"):
        upload.set_input_files({"name": "mine.toml", "mimeType": "text/plain", "buffer": content})
        page.get_by_text("mine.toml: this is not valid TOML").wait_for()
    page.locator(".replaced").get_by_text("mine.toml: 1 setting changed.").wait_for()
    assert page.locator('.setting[data-name="network.rank"]').get_by_role("textbox").input_value() == "12"


@pytest.mark.slow
def test_a_file_of_another_kind_is_refused_in_a_sentence(server: Any, visit: Any) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Load").click()
    picture = {"name": "cat.png", "mimeType": "image/png", "buffer": b"x"}
    page.locator("input[type=file]").set_input_files(picture)
    page.get_by_text("This file is not taken; give one that ends in .toml, .json").wait_for()
