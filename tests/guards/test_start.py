"""Planning and help start at once, because they never import torch, nor what else takes long."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import tehon

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft", "numba", "llvmlite")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(tehon.__file__).parents[1])}
RUN = """
import json, sys
from tehon.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def imported(*words: str) -> tuple[int, set[str]]:
    """(exit code, all modules imported) of a command in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


def seconds(*words: str) -> float:
    """A command's time from its start to its end. The fastest of several is what the machine can do."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tehon", *words], env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


@pytest.fixture
def config(tree: dict[str, Any], tmp_path: Path) -> str:
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tree), "utf8")
    return str(file)


COMMANDS = [
    "demo",
    "train",
    "resume",
    "plan",
    "runs",
    "stop",
    "save",
    "preview",
    "queue",
    "sample",
    "compare",
    "grid",
    "inspect",
    "merge",
    "extract",
    "resize",
    "convert",
    "cut",
    "captions",
    "import",
    "export",
    "kohya",
]


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_torch(words: list[str]) -> None:
    code, modules = imported(*words)
    assert code == 0
    assert "tehon.cli.main" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_planning_imports_no_torch(config: str, words: list[str]) -> None:
    code, modules = imported("plan", config, *words)
    assert code == 0
    assert "tehon.planning.plan" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.alone
def test_help_answers_in_a_blink() -> None:
    assert min(seconds("--help") for _ in range(5)) < 0.7


@pytest.mark.alone
def test_a_plan_answers_in_a_blink(config: str) -> None:
    assert min(seconds("plan", config) for _ in range(5)) < 0.7


@pytest.fixture
def preset(tmp_path: Path) -> str:
    file = tmp_path / "preset.json"
    file.write_text(json.dumps({"LoRA_type": "Standard", "network_dim": 32, "max_resolution": "512,512"}))
    return str(file)


def test_an_import_needs_no_torch(preset: str) -> None:
    code, modules = imported("import", preset)
    assert code == 0
    assert "tehon.settings.kohya.read" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.alone
def test_an_import_answers_in_a_blink(preset: str) -> None:
    assert min(seconds("import", preset) for _ in range(5)) < 0.7
