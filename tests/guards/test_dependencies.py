"""What the source imports is declared, and what is declared has its reason in docs/dependencies.md."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import tehon

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = Path(tehon.__file__).parent
ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
WITH_TORCH = {"triton"}  # torch brings it where there is a graphics card for it, and is asked for it by find_spec


def plain(name: str) -> str:
    """pytorch-optimizer of "pytorch_optimizer[x]>=4.0; python_version < '3.11'"."""
    return re.split(r"[^\w.-]", name, maxsplit=1)[0].lower().replace("_", "-")


def declared() -> set[str]:
    lists = [PROJECT["dependencies"]]
    lists += [own for name, own in PROJECT["optional-dependencies"].items() if name != "dev"]
    return {plain(one) for own in lists for one in own}


def imported(code: str) -> set[str]:
    """The first words of the names that a module imports, also on use."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"tehon"}


def test_what_the_source_imports_is_declared() -> None:
    homes, known = packages_distributions(), declared() | WITH_TORCH
    missing = {
        name: file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        for name in imported(file.read_text("utf8"))
        if not known & {plain(home) for home in homes.get(name, [name])}
    }
    assert missing == {}


def test_what_is_declared_has_its_line_on_the_page() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text("utf8")
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| ")]
    listed = {plain(name.strip()) for row in rows for name in row.split(",")}
    assert declared() - listed == set()
