"""Sentences on the page name settings by the labels that stand there."""

import re

import pytest

from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.web.naming import pieces, worded, worded_help


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("data.folder: set data.repeats, or go.", "Image folder: set “Repeats”, or go."),
        ("data.sets[2].folder: there is none.", "Data sets 2, Image folder: there is none."),
        ("data.sets[2]: there is none.", "Data sets[2]: there is none."),
        ("as `data.repeats` says, or `data.repeats = 3`", "as “Repeats” says, or `data.repeats = 3`"),
        ("go on with --data.batch_size 1", "go on with --data.batch_size 1"),
        ("/home/data.folder/a.png: broken", "/home/data.folder/a.png: broken"),
        ("extra.data.folder, data.folder.old and data.folders", "extra.data.folder, data.folder.old and data.folders"),
        ("network.rank is not network.rank_dropout", "“Network rank (dimension)” is not “Rank dropout”"),
    ],
)
def test_a_name_becomes_the_label(sentence: str, wanted: str) -> None:
    assert worded(sentence) == wanted


def test_a_help_text_calls_settings_by_their_labels_too() -> None:
    assert worded_help("data.repeats", "where `folder` holds `10_cat`") == "where “Image folder” holds `10_cat`"
    helps = {one.name: worded_help(one.name, one.help) for one in fields()}
    inner = {one.name.partition(".")[2] for one in fields()}
    bare = {name: found for name, text in helps.items() if (found := inner & set(re.findall(r"`(\w+)`", text)))}
    assert bare == {}


def test_each_piece_knows_its_setting() -> None:
    assert pieces("set data.repeats.") == [("set ", ""), ("“Repeats”", "data.repeats"), (".", "")]
    assert pieces("nothing") == [("nothing", "")]


def test_in_japanese_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", "ja")
    said = worded(str(Problem("folder_unnamed", field="data.folder", path="/cats", name="10_cats")))
    assert said.startswith("画像フォルダ: ")
    assert "。「繰り返し回数」（まずは 10）を" in said
    assert "data." not in said
    assert worded("前に data.repeats を") == "前に「繰り返し回数」を", "no space beside the brackets"
