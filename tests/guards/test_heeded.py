"""For each setting there is a test that fails when the setting has no effect; `python tests/heeded.py` tries it."""

import ast
from functools import cache
from pathlib import Path

import pytest

from heeded import TESTS
from tehon.settings.fields import fields

FOLDER = Path(__file__).parents[1]


@cache
def functions(file: str) -> set[str]:
    return {
        node.name for node in ast.parse((FOLDER / file).read_text("utf8")).body if isinstance(node, ast.FunctionDef)
    }


def test_every_setting_has_one() -> None:
    assert sorted(TESTS) == sorted(field.name for field in fields())


@pytest.mark.parametrize("name", TESTS)
def test_it_is_there(name: str) -> None:
    file, _, test = TESTS[name].partition("::")
    assert test.partition("[")[0] in functions(file)
