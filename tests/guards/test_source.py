"""Rules of the source that no linter knows."""

import ast
from pathlib import Path

import pytest

import tehon

SOURCE = Path(tehon.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [file.relative_to(SOURCE).as_posix() for file in FILES]
TEXTS = {name: file.read_text("utf8") for name, file in zip(NAMES, FILES, strict=True)}


def names_a_family(node: ast.expr) -> bool:
    return ast.unparse(node).endswith(("family", "family.name", "FAMILIES"))


def decisions_by_family(code: str) -> list[int]:
    """Lines that compare a family, or match on one."""
    found: list[int] = []
    for node in ast.walk(ast.parse(code)):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        subject = [node.subject] if isinstance(node, ast.Match) else []
        if any(names_a_family(side) for side in [*sides, *subject]):
            found.append(node.lineno)  # type: ignore[attr-defined]
    return found


def test_there_is_source_to_look_at() -> None:
    assert len(FILES) > 50


def test_modules_have_names_that_say_what_they_hold() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [name for name in NAMES if vague & {part.removesuffix(".py") for part in name.split("/")}] == []


def test_a_file_has_at_most_400_lines() -> None:
    assert [name for name, text in TEXTS.items() if len(text.splitlines()) > 400] == []


def test_a_module_opens_with_a_paragraph_about_itself() -> None:
    assert [name for name, text in TEXTS.items() if not ast.get_docstring(ast.parse(text))] == []


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "__init__.py"], ids=str)
def test_an_init_file_holds_nothing_but_its_docstring(file: Path) -> None:
    rest = ast.parse(file.read_text("utf8")).body[1:]
    if file.parent == SOURCE:
        assert [ast.unparse(statement) for statement in rest] == [f"__version__ = {tehon.__version__!r}"]
    else:
        assert rest == []


def test_only_families_decide_by_family() -> None:
    deciding = {
        name: lines
        for name, text in TEXTS.items()
        if not name.startswith("families/") and (lines := decisions_by_family(text))
    }
    assert deciding == {}


@pytest.mark.parametrize(
    "code",
    [
        "if family == 'sd1': pass",
        "x = 1 if plan.family.name != 'sd1' else 2",
        "if family.name in ('sd1', 'sdxl'): pass",
        "while 'sd1' == self.family: pass",
        "match family.name:\n    case 'sd1': pass",
    ],
)
def test_a_decision_by_family_is_seen(code: str) -> None:
    assert decisions_by_family(code) == [1]
    assert decisions_by_family("if family_size == 2 or families: pass") == []
