"""Both languages say the same, every sentence that the source asks for exists, and none is left over."""

import ast
import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

import tehon
from tehon.catalog.families import FAMILIES
from tehon.cli.main import COMMANDS
from tehon.messages.catalogue import language, languages, say, sentences
from tehon.messages.problem import Problem, Problems, raise_all, reason_of
from tehon.planning.peak import PartName, PhaseName
from tehon.planning.troubles import KINDS
from tehon.runs.status import ENDED, WORKING
from tehon.settings.fields import fields
from tehon.web.placing import GROUPS
from tehon.web.presets import ADDITIONS, PRESETS
from tehon.web.run_view import ACTIONS, INNER_TABS
from tehon.web.sheets import TABS
from tehon.web.toolbar import DEMO
from tehon.web.tools_tab import TOOLS

CAPTIONS = ("list", "add", "remove", "replace", "sort", "dedupe", "undo", "tag")
SOURCE = Path(tehon.__file__).parent
ENGLISH = sentences("en")
JAPANESE = {key: text for key, text in sentences("ja").items() if not key.startswith("help.")}


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def spoken(tree: ast.AST) -> Iterator[tuple[str, set[str] | None]]:
    """(key, names of the values, or None where they are not written out) of every say("…") and Problem("…")."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        key = node.args[0]
        if node.func.id not in ("say", "Problem") or not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            continue
        names = {keyword.arg for keyword in node.keywords}
        prefix = "problem." if node.func.id == "Problem" else ""
        yield prefix + key.value, {name for name in names if name} if None not in names else None


@cache
def all_spoken() -> list[tuple[str, set[str] | None, str]]:
    return [
        (key, values, file.relative_to(SOURCE).as_posix())
        for file in sorted(SOURCE.rglob("*.py"))
        for key, values in spoken(ast.parse(file.read_text("utf8")))
    ]


def built() -> set[str]:
    """Keys that the source puts together from a prefix and a name."""
    commands = {f"cli.{name}" for name in COMMANDS}
    oddities = {f"notice.{kind}" for kind in KINDS}
    verbs = {f"cli.captions_{verb}" for verb in CAPTIONS} | {
        f"cli.queue_{verb}" for verb in ("add", "list", "move", "remove", "retry", "start", "pause", "resume")
    }
    states = {f"state.{state}" for state in (*WORKING, *ENDED, "waiting", "beginning", "gone")}
    tables = "".join(file.read_text("utf8") for file in (SOURCE / "settings" / "kohya").glob("*.py"))
    remarks = {key for key in ENGLISH if key.startswith("kohya.") and f'"{key.partition(".")[2]}"' in tables}
    parts = {key for key in ENGLISH if key.startswith(("kind.", "limit."))}
    labels = {f"label.{field.name}" for field in fields()}
    page = {f"group.{group.name}" for group in GROUPS} | {f"web.tab_{name}" for name in TABS}
    page |= {f"preset.{name}{end}" for name in (DEMO, *PRESETS, *ADDITIONS) for end in ("", "_help")}
    page |= {f"web.{name}{end}" for name in ACTIONS for end in ("", "_done")} | {
        f"web.run_{name}" for name in INNER_TABS
    }
    page |= {f"web.tool_{name}{end}" for name in TOOLS for end in ("", "_help")}
    roots = {f"plan.part_{root}" for family in FAMILIES.values() for root in family.adapter_roots}
    memory = {f"memory.phase_{name}" for name in get_args(PhaseName)} | {
        f"memory.{name}" for name in get_args(PartName)
    }
    return commands | oddities | verbs | states | remarks | parts | labels | page | roots | memory


def test_japanese_has_exactly_the_sentences_of_english() -> None:
    assert sorted(JAPANESE) == sorted(ENGLISH)


def test_both_languages_leave_the_same_blanks() -> None:
    assert {key: blanks(text) for key, text in JAPANESE.items()} == {key: blanks(text) for key, text in ENGLISH.items()}


def test_every_sentence_that_the_source_asks_for_exists() -> None:
    missing = [(file, key) for key, _, file in all_spoken() if key not in ENGLISH]
    assert missing == []
    assert built() <= ENGLISH.keys()
    assert len(all_spoken()) > 80


def test_every_sentence_gets_the_values_that_it_has_blanks_for() -> None:
    added_later = {"problem.picture_too_small": {"path"}}  # the bucket does not know which picture it is asked about
    wrong = [
        (file, key, sorted(values ^ blanks(ENGLISH[key])))
        for key, values, file in all_spoken()
        if values is not None and values | added_later.get(key, set()) != blanks(ENGLISH[key])
    ]
    assert wrong == []


def test_no_sentence_is_left_over() -> None:
    asked = {key for key, _, _ in all_spoken()} | built()
    assert sorted(ENGLISH.keys() - asked) == []


def test_every_kind_and_limit_is_one_that_a_field_has() -> None:
    stated = " / ".join(field.expected for field in fields())
    for key, text in ENGLISH.items():
        if key.startswith("kind."):
            assert text.partition("{")[0] in stated, key


def test_the_search_for_spoken_keys_finds_them() -> None:
    code = 'say("cli.out", path=p)\nraise Problem("state_missing", **more)\nwatcher.say("not a key")\nsay(name)'
    assert list(spoken(ast.parse(code))) == [("cli.out", {"path"}), ("problem.state_missing", None)]


@pytest.mark.parametrize(("sentences_of", "ends"), [(ENGLISH, ".?)"), (JAPANESE, "。）")], ids=["en", "ja"])
def test_a_problem_ends_like_a_sentence_in_one_line(sentences_of: dict[str, str], ends: str) -> None:
    problems = {key: text for key, text in sentences_of.items() if key.startswith("problem.")}
    assert len(problems) > 200
    assert {key: text for key, text in problems.items() if text[-1] not in ends or "\n" in text} == {}


def test_there_are_two_languages() -> None:
    assert languages() == ("en", "ja")
    for code in languages():
        assert json.loads((SOURCE / "messages" / f"{code}.json").read_text("utf8"))


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"TEHON_LANG": "ja"}, "ja"),
        ({"TEHON_LANG": "ja", "LC_ALL": "en_US.UTF-8", "LANG": "en_US.UTF-8"}, "ja"),
        ({"TEHON_LANG": "en", "LC_ALL": "ja_JP.UTF-8"}, "en"),
        ({"TEHON_LANG": "", "LC_ALL": "ja_JP.UTF-8"}, "ja"),
        ({"LC_ALL": "ja_JP.UTF-8", "LANG": "en_US.UTF-8"}, "ja"),
        ({"LC_ALL": "C", "LANG": "ja_JP.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja"}, "ja"),
        ({"LANG": "JA_JP"}, "ja"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"TEHON_LANG": "fr", "LANG": "ja_JP.UTF-8"}, "en"),
        ({"TEHON_LANG": "../ja"}, "en"),
    ],
)
def test_the_language_comes_from_the_environment(
    environment: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEHON_LANG", "LC_ALL", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == code


@pytest.mark.parametrize(("named", "code"), [("Japanese_Japan", "ja"), ("English_United States", "en"), (None, "en")])
def test_without_variables_the_language_is_the_systems(
    named: str | None, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEHON_LANG", "LC_ALL", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("locale.getlocale", lambda: (named, None))
    assert language() == code


def test_a_problem_speaks_the_language_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("state_missing", path="x")
    assert str(problem) == "x: this run has no saved state to resume from; start it again with tehon train."
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert str(problem) == "x: 再開できる状態が保存されていません。tehon train で始め直してください。"


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(0, "0 pictures have"), (1, "1 picture has"), ("1", "1 picture has"), (2, "2 pictures have"), (11, "11 pictures")],
)
def test_one_thing_is_not_spoken_of_as_several(count: int | str, wanted: str) -> None:
    assert say("notice.captions_empty", count=count, names="a.png").startswith(wanted)


COUNTED = re.compile(
    r"\{(count|total|steps|epochs|buckets|batches|reads|pictures|captions|layers|times|n)\} [a-zA-Z ]*?s\b"
)
AT_LEAST_TWO = {"problem.name_too_long", "problem.process_lost", "problem.commands_several", "cli.demo_start"}


def test_english_has_a_form_for_one_wherever_it_counts() -> None:
    assert {key for key, text in ENGLISH.items() if COUNTED.search(text)} == AT_LEAST_TWO


def test_braces_in_a_value_are_left_alone() -> None:
    assert say("problem.state_missing", path="{path} {0}").startswith("{path} {0}: this run")


@pytest.mark.parametrize("name", ["my cat", "cat's", "$cat", "cat", "a\\b", "猫 2"])
def test_a_command_in_a_sentence_can_be_copied_whatever_the_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for code in languages():
        monkeypatch.setenv("TEHON_LANG", code)
        command = say("cli.launched_at", path=name, name=name).partition("tehon stop")[2]
        assert shlex.split(command) == [name]


@pytest.mark.parametrize(
    ("path", "word"), [("C:\\sets\\a.toml",) * 2, ("C:\\my sets\\a.toml", '"C:\\my sets\\a.toml"')]
)
def test_a_command_for_windows_has_double_quotes_alone(path: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("TEHON_LANG", "en")
    assert say("problem.ours_already", path=path) == (
        f"{path}: these are tehon's own settings; train with them at once: tehon train {word}."
    )


def test_whatever_a_command_names_is_written_as_a_word_of_it() -> None:
    bare = re.compile(r"(tehon [a-z]+|--config_file) \{(path|run|folder|name|file)\}")
    assert [key for texts in (ENGLISH, JAPANESE) for key, text in texts.items() if bare.search(text)] == []


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError("no route\nto the host"), "no route"), (RuntimeError("\n  lost\n"), "lost"), (KeyError(), "KeyError")],
)
def test_the_reason_of_an_error_is_one_line_and_never_empty(error: Exception, said: str) -> None:
    assert reason_of(error) == said


def test_problems_are_raised_alone_or_together() -> None:
    raise_all([])
    one, two = Problem("state_missing", path="a"), Problem("state_broken", path="b")
    with pytest.raises(Problem) as alone:
        raise_all([one])
    assert alone.value is one
    with pytest.raises(Problems) as both:
        raise_all([one, two])
    assert str(both.value) == f"{one}\n{two}"
