"""Captions from one file for many pictures."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tehon.data.plan.metadata_file import MetadataFile
from tehon.messages.problem import Problem


def written(folder: Path, rows: dict[str, Any], name: str = "meta.json") -> MetadataFile:
    (folder / "lists").mkdir(exist_ok=True)
    file = folder / "lists" / name
    if name.endswith(".jsonl"):
        lines = [json.dumps({"image_path": path, **row}, ensure_ascii=False) for path, row in rows.items()]
        file.write_text("\n".join(lines) + "\n\n", "utf8")
    else:
        file.write_text(json.dumps(rows, ensure_ascii=False), "utf8")
    return MetadataFile(file, ",")


@pytest.mark.parametrize("name", ["meta.json", "meta.jsonl"])
@pytest.mark.parametrize("key", ["猫.png", "猫", "{folder}/猫.png", "{folder}/猫", "../pics/猫.png", "./猫.png"])
def test_a_picture_is_found_however_its_path_is_written(tmp_path: Path, key: str, name: str) -> None:
    folder = tmp_path / "pics"
    meta = written(tmp_path, {key.format(folder=folder): {"caption": "a cat"}}, name)
    assert meta.caption(folder / "猫.png", folder) == "a cat"
    assert meta.caption(folder / "other.png", folder) is None
    assert meta.unused() == []


def test_windows_writes_its_paths_the_other_way_round(tmp_path: Path) -> None:
    meta = written(tmp_path, {"sub\\01.png": {"caption": "a cat"}})
    assert meta.caption(tmp_path / "sub" / "01.png", tmp_path) == "a cat"


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        ({"caption": "a cat", "tags": "red, tall"}, "a cat, red, tall"),
        ({"tags": "red, tall"}, "red, tall"),
        ({"tags": ["red", "tall"]}, "red, tall"),
        ({"caption": " a cat ", "image_size": [64, 64]}, "a cat"),
        ({"image_size": [64, 64]}, None),
        ({"caption": "", "tags": None}, None),
    ],
)
def test_tags_stand_behind_the_caption(tmp_path: Path, row: dict[str, Any], caption: str | None) -> None:
    assert written(tmp_path, {"a": row}).caption(tmp_path / "a.png", tmp_path) == caption


def test_entries_of_no_picture_are_known(tmp_path: Path) -> None:
    meta = written(tmp_path, {"a": {"caption": "x"}, "b": {"caption": "y"}})
    meta.caption(tmp_path / "a.png", tmp_path)
    assert meta.unused() == ["b"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", "[1, 2]"), ("a.json", "{"), ("a.json", '{"a": 5}'), ("a.jsonl", '{"caption": "x"}'), ("a.jsonl", "x")],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(Problem) as caught:
        MetadataFile(tmp_path / name, ",")
    assert str(caught.value).startswith(f"{tmp_path / name}: this is not a metadata file (")


def test_a_file_in_another_encoding_is_to_be_saved_anew(tmp_path: Path) -> None:
    file = tmp_path / "meta.json"
    file.write_bytes('{"a": {"caption": "猫"}}'.encode("cp932"))
    with pytest.raises(Problem, match="is not UTF-8 text; save it as UTF-8"):
        MetadataFile(file, ",")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="there is no such file"):
        MetadataFile(tmp_path / "none.json", ",")


def test_another_drive_is_no_place_to_count_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no relative path from one drive to another."""

    def relative(path: str, base: Path) -> str:
        if base == tmp_path / "lists":
            raise ValueError("path is on mount 'C:', start on mount 'D:'")
        return real(path, base)

    real = os.path.relpath
    monkeypatch.setattr(os.path, "relpath", relative)
    meta = written(tmp_path, {"a": {"caption": "x"}})
    assert meta.caption(tmp_path / "a.png", tmp_path) == "x"
    assert meta.caption(tmp_path / "b.png", tmp_path) is None
