"""The table of packages in docs/architecture.md says who imports whom."""

import ast
import re
from pathlib import Path

import tehon

SOURCE = Path(tehon.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def package(module: str) -> str:
    """data.plan of tehon.data.plan.epochs, weights of tehon.weights.model."""
    return ".".join(module.split(".")[1:][: 2 if module.startswith("tehon.data.") else 1])


def imported(file: Path) -> set[str]:
    """The packages of tehon that a file imports, also on use and for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf8"))):
        names = [one.name for one in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names = [f"{node.module}.{name}" for name in names] if isinstance(node, ast.ImportFrom) else names
        found |= {package(name) for name in names if name.startswith("tehon.")}
    return found


def test_the_table_of_packages_is_current() -> None:
    found: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        own = package(".".join(("tehon", *file.relative_to(SOURCE).with_suffix("").parts)))
        found[own] = found.get(own, set()) | imported(file) - {own, "messages", "__version__"}
    above: list[str] = []
    for row in re.findall(r"^\| `.*", PAGE.read_text("utf8").partition("## One run")[0], re.MULTILINE):
        name, _, imports, _ = row.replace("`", "").strip("| ").split(" | ")
        named = set(re.findall(r"[a-z.]+", imports.partition(";")[0])) & found.keys()
        said = set(above) - named - {"messages"} if imports.startswith("all above") else named
        assert imports == "all" or found[name] == said, name
        assert said <= set(above), f"{name} stands above what it imports"
        above.append(name)
    assert set(above) == found.keys() - {"__main__", "__init__", "data.__init__"}
