"""Files that are loaded into the form: what is wrong with them, under the name that the person gave."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tehon.messages.problem import Problem
from tehon.settings.files import read_toml
from tehon.web.import_report import grouped
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


KOHYA = {"network_dim": 12, "seed": "7", "xformers": True, "resume": "", "lr_warmup": "abc", "flux1_checkbox": True}


def test_an_import_is_told_by_what_needs_attention_what_is_carried_over_and_what_means_nothing_here() -> None:
    groups = grouped(load("mine.json", json.dumps(KOHYA).encode()).lines)
    assert {kind: {line.key for line in lines} for kind, lines in groups.items()} == {
        "attention": {"lr_warmup", "flux1_checkbox"},
        "carried": {"network_dim", "seed"},
        "idle": {"xformers", "resume"},
    }


@pytest.mark.slow
def test_an_import_begins_with_a_line_that_sums_it_up(server: Any, visit: Any) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Load").click()
    content = json.dumps(KOHYA).encode()
    page.locator("input[type=file]").set_input_files(
        {"name": "mine.json", "mimeType": "application/json", "buffer": content}
    )
    report = page.locator(".report")
    report.get_by_text("2 keys carried over, 2 without effect here, 2 need attention.").wait_for()
    keys = report.locator("th")
    assert {text.partition(" ")[0] for text in keys.all_inner_texts()[:2]} == {"lr_warmup", "flux1_checkbox"}
    assert keys.filter(has_text="xformers").is_hidden()
    report.get_by_text("2 without effect here", exact=True).click()
    keys.filter(has_text="xformers").wait_for()


@pytest.mark.slow
def test_after_a_broken_file_the_next_is_taken(server: Any, visit: Any) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Load").click()
    upload = page.locator("input[type=file]")
    for content in (b"[[", b"[network]\nrank = 13\n"):
        upload.set_input_files({"name": "mine.toml", "mimeType": "text/plain", "buffer": content})
        page.get_by_text("mine.toml: this is not valid TOML").wait_for()
    page.locator(".replaced").get_by_text("mine.toml: ").wait_for()
    assert page.locator('.setting[data-name="network.rank"]').get_by_role("textbox").input_value() == "13"


@pytest.mark.slow
def test_a_file_of_another_kind_is_refused_in_a_sentence(server: Any, visit: Any) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Load").click()
    picture = {"name": "cat.png", "mimeType": "image/png", "buffer": b"x"}
    page.locator("input[type=file]").set_input_files(picture)
    page.get_by_text("This file is not taken; give one that ends in .toml, .json").wait_for()


@pytest.mark.slow
def test_a_picture_of_a_kind_that_is_not_read_is_refused_in_a_sentence(server: Any, visit: Any) -> None:
    page = visit(f"{server.url}/data")
    page.get_by_role("button", name="New data set").click()
    picture = {"name": "IMG_0001.HEIC", "mimeType": "image/heic", "buffer": b"x"}
    page.locator("input[type=file]").set_input_files(picture)
    page.get_by_text("This file is not taken; give one that ends in .png, .jpg").wait_for()


@pytest.mark.slow
def test_without_pictures_there_are_no_tools_for_captions(server: Any, visit: Any) -> None:
    page = visit(f"{server.url}/data")
    page.get_by_text("No captions to edit: no pictures are shown.").wait_for()
    assert page.locator(".data-side").get_by_role("button").count() == 0


@pytest.mark.slow
def test_a_new_set_is_shown_where_the_form_was_for_a_plain_folder(server: Any, visit: Any, tmp_path: Path) -> None:
    form = server.home / "form.toml"
    form.write_text('[data]\nrepeats = 3\nclass_words = "dog"\nfolder = "/dogs"\n', "utf8")
    page = visit(f"{server.url}/data")
    page.get_by_role("button", name="New data set").click()
    page.get_by_label("Parent folder").fill(str(tmp_path))
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    page.locator("input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    page.locator(".q-uploader__file--uploaded").wait_for()
    page.get_by_role("button", name="Done").click()
    page.locator('.tile[title="a.png"]').wait_for()
    page.get_by_role("tab", name="Train").click()
    bar = page.locator(".replaced", has_text="New data set: 2 settings changed.")
    bar.get_by_role("button", name="Undo").click()
    bar.wait_for(state="detached")
    assert read_toml(form) == {"data": {"repeats": 3, "class_words": "dog", "folder": str(tmp_path)}}
