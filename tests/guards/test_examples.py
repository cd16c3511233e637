"""The examples in docstrings give functions and classes what they take. They are not run: most need a model."""

import ast
from doctest import DocTestParser
from pathlib import Path

import tehon

SOURCE = Path(tehon.__file__).parent
TREES = {
    file.relative_to(SOURCE).as_posix(): ast.parse(file.read_text("utf8")) for file in sorted(SOURCE.rglob("*.py"))
}


def called(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """What a call of each name in a module calls; not of classes that say nothing of it, as dataclasses."""
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                found[node.name] = part  # type: ignore[attr-defined]
    return found


def fits(call: ast.Call, function: ast.FunctionDef) -> bool:
    """Whether a function takes so many arguments and those names."""
    own = function.args
    places = [one.arg for one in own.args if one.arg != "self"]
    needed = set(places[: len(places) - len(own.defaults)])
    needed |= {one.arg for one, default in zip(own.kwonlyargs, own.kw_defaults, strict=True) if default is None}
    given = {*places[: len(call.args)], *(one.arg for one in call.keywords)}
    known = own.kwarg or given <= {*places, *(one.arg for one in own.kwonlyargs)}
    return bool(needed <= given and known and (own.vararg or len(call.args) <= len(places)))


def test_examples_give_what_is_taken() -> None:
    everywhere: dict[str, list[ast.FunctionDef]] = {}
    for tree in TREES.values():
        for name, function in called(tree).items():
            everywhere.setdefault(name, []).append(function)
    right, wrong = [], []
    for file, tree in TREES.items():
        own = called(tree)
        for example in DocTestParser().get_examples(ast.get_docstring(tree) or ""):
            for call in ast.walk(ast.parse(example.source)):
                if not isinstance(call, ast.Call) or any(isinstance(one, ast.Starred) for one in call.args):
                    continue
                name = ast.unparse(call.func)
                known = [own[name]] if name in own else everywhere.get(name, [])
                if len(known) == 1:
                    (right if fits(call, known[0]) else wrong).append(f"{file}: {ast.unparse(call)}")
    assert wrong == []
    assert len(right) > 60
