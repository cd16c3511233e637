"""Output that nobody takes: a training goes on without it, and commands that print say so."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tehon.settings.files import to_toml, validate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
TEHON = [sys.executable, "-c", "import sys; from tehon.cli.main import main; sys.exit(main())"]


@pytest.fixture
def config(tree: dict[str, Any], nano: Path, tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    tree["model"] = {"path": str(nano)}
    file.write_text(to_toml(validate(tree)), "utf8")
    return file


@pytest.fixture(params=["pipe", "/dev/full"])
def lost(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of an output without a reader, or on a full disk."""
    if request.param == "pipe":
        reader, number = os.pipe()
        os.close(reader)
    elif Path(request.param).exists():
        number = os.open(request.param, os.O_WRONLY)
    else:
        pytest.skip("this system has no full disk to offer")
    yield number
    os.close(number)


def tehon(lost: int, *words: str) -> tuple[int, str]:
    done = subprocess.run([*TEHON, *words], stdout=lost, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("how", [["--json"], []], ids=["lines", "bar"])
def test_a_training_goes_on_when_nobody_reads_about_it(config: Path, lost: int, how: list[str], tmp_path: Path) -> None:
    code, said = tehon(lost, "train", str(config), "--training.max_train_steps", "2", *how)
    assert code == 0, said
    assert "Error" not in said
    assert (tmp_path / "out" / "mine.safetensors").is_file()


LOUD = """
import os, sys
from tehon.training import loop

def update(*facts):
    WARN
    real(*facts)

real, loop.update = loop.update, update
from tehon.cli.main import main
sys.exit(main())
"""


def test_a_training_goes_on_when_stderr_is_lost(config: Path, lost: int, tmp_path: Path) -> None:
    loud = LOUD.replace("WARN", "print('a library warns', file=sys.stderr, flush=True)")
    words = ["-c", loud, "train", str(config), "--training.max_train_steps", "2", "--quiet"]
    assert subprocess.run([sys.executable, *words], stderr=lost, check=False).returncode == 0
    assert (tmp_path / "out" / "mine.safetensors").is_file()
    done = subprocess.run([*TEHON, "plan", "nothing.toml"], stderr=lost, check=False)
    assert done.returncode == 2, "what is wrong can't be said, but it is no error of ours"


def test_what_libraries_print_on_a_closed_stderr_gets_into_no_file(config: Path, tmp_path: Path) -> None:
    loud = LOUD.replace("WARN", "os.write(2, b'a library warns')")
    words = [sys.executable, "-c", loud, "train", str(config), "--training.max_train_steps", "2", "--quiet"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *words], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(written) > 5
    assert not [file for file in written if b"a library warns" in file.read_bytes()]


@pytest.mark.parametrize("words", [["runs", "--json"], ["runs"]], ids=" ".join)
def test_a_command_that_prints_has_said_enough_or_says_why_not(lost: int, words: list[str]) -> None:
    full = stat.S_ISCHR(os.fstat(lost).st_mode)
    why = "stdout: what was printed cannot be written (No space left on device); free some room there"
    code, said = tehon(lost, *words)
    assert (code, said.partition(",")[0]) == ((2, why) if full else (0, ""))
