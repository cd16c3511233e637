"""How loops are compiled and where they are kept."""

import ctypes
import errno
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import caching

import tehon.loops
from tehon.loops import compiled as compiling
from tehon.loops import kept as keeping
from tehon.loops.compiled import Loop, compiled, inlined
from tehon.loops.kept import kept
from tehon.loops.tiles import on_stack

CONFIG: Any = numba.config
PACKAGE = Path(tehon.loops.__file__).parent


def twice() -> Loop:
    """A loop that is compiled when this is called."""

    @compiled
    def loop(given: Any) -> None:
        given[0] += given[0]

    return loop


def ran(loop: Loop, number: int) -> int:
    """What a loop makes of the first number that it is handed over."""
    table = (ctypes.c_int64 * 1)(number)
    loop.call(table)
    return table[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where loops are kept. Numba's own settings are others' too."""
    monkeypatch.setattr(CONFIG, "CACHE_DIR", str(tmp_path / "by numba"))
    monkeypatch.setattr(compiling, "kept", lambda: tmp_path / "kept")
    yield tmp_path / "kept"
    assert str(tmp_path / "by numba") == CONFIG.CACHE_DIR
    assert not (tmp_path / "by numba").exists()


def held(folder: Path) -> list[str]:
    """Kinds of numba's files there: an index, and data."""
    return sorted({file.suffix for file in folder.rglob("*.nb*")})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, of which `kept` thinks that it is in."""
    here = tmp_path / "loops"
    shutil.copytree(PACKAGE, here, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keeping, "__file__", str(here / "kept.py"))
    return here


def test_the_folder_changes_with_any_file_of_the_package(package: Path) -> None:
    names = [file.name for file in package.glob("*.py")]
    assert {"tiles.py", "attention.py", "gates.py", "norms.py"} <= set(names)
    found = {kept.__wrapped__()}
    assert [folder and folder.parent for folder in found] == [package / "__pycache__"]
    for name in names:
        with open(package / name, "a", encoding="utf8") as file:
            file.write("\n")
        found.add(kept.__wrapped__())
    assert len(found) == 1 + len(names)


@pytest.mark.parametrize("named", [True, False], ids=["NUMBA_CACHE_DIR", "numba's own"])
def test_beside_a_package_that_can_not_be_written_to_the_users_folder_keeps_them(
    named: bool, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "user"
    monkeypatch.setattr(CONFIG, "CACHE_DIR", str(users) if named else "")
    monkeypatch.setattr(keeping.AppDirs, "user_cache_dir", "nobody's" if named else str(users))
    beside = kept.__wrapped__()
    assert beside is not None
    shutil.rmtree(package / "__pycache__")
    (package / "__pycache__").touch()  # in the way, also of an administrator
    assert kept.__wrapped__() == users / beside.name
    shutil.rmtree(users)
    users.touch()
    assert kept.__wrapped__() is None


def test_the_files_that_hold_loops_are_known() -> None:
    holding = [file.stem for file in PACKAGE.glob("*.py") if "\n@compiled\n" in file.read_text("utf8")]
    assert sorted(holding) == sorted(keeping.FILES)
    code = "import sys; from tehon.loops.kept import compile_all; compile_all(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {f"tehon.loops.{name}" for name in holding} <= set(found)


def test_a_loop_is_kept_and_read_again(folder: Path) -> None:
    for read in (0, 1):
        loop = twice()
        assert ran(loop, 21) == 42
        assert loop.function.cache_hits == read
    assert held(folder) == [".nbc", ".nbi"]


def test_where_nothing_can_be_written_loops_are_compiled_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONFIG, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "kept", lambda: None)
    assert ran(twice(), 21) == 42
    assert held(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\x80\x04nonsense"], ids=["empty", "broken"])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_broken_file_is_made_anew(kind: str, content: bytes, folder: Path) -> None:
    twice()
    (file,) = folder.rglob(f"*.{kind}")
    file.write_bytes(content)
    for read in (0, 0, 1):  # without the file, for it, and from it
        loop = twice()
        assert ran(loop, 21) == 42
        assert loop.function.cache_hits == read


def test_a_full_disk_is_not_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    assert ran(twice(), 21) == 42
    assert held(folder) == []


def test_what_older_versions_kept_goes_once_there_is_new(folder: Path) -> None:
    old, others = folder.parent / f"tehon-{'0a' * 8}", [folder.parent / "tehon-notes", folder.parent / "loops_0a"]
    for one in (old, *others):
        one.mkdir()
    twice()
    assert not old.exists()
    assert all(one.exists() for one in others)
    old.mkdir()
    twice()  # is only read
    assert old.exists()


def test_loops_are_compiled_where_numba_is_told_not_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by NUMBA_DISABLE_JIT. A pointer to the stack is none in Python."""
    monkeypatch.setattr(CONFIG, "DISABLE_JIT", 1)

    @inlined
    def store(numbers: Any, x: Any) -> None:
        numbers[0] = x

    @compiled
    def loop(given: Any) -> None:
        numbers = numba.carray(on_stack(4), (4,))
        store(numbers, given[0])
        given[0] = numbers[0] + 1

    assert ran(loop, 3) == 4
    assert CONFIG.DISABLE_JIT == 1
