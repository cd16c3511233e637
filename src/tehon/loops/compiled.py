"""How loops are compiled, and kept from one process to the next.

>>> @compiled
... def twice(given): ...
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, c_void_p
from shutil import rmtree
from typing import Any

from numba import cfunc, config, njit, types
from numba.extending import intrinsic

from tehon.loops.kept import forget_others, kept

_config: Any = config
inserted: Any = intrinsic(prefer_literal=True)
"""For functions that numba has to be told how to compile."""
_HANDED_OVER: Any = types.void(types.CPointer(types.int64))
_HOW: Any = {"nogil": True, "fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}
"""Without Python's lock; sums in any order, but NaN stays NaN."""


@contextmanager
def _numba_set(**values: Any) -> Generator[None, None, None]:
    """Has numba compile in any case, and its other settings as given, but not for the functions of others."""
    values |= {"DISABLE_JIT": 0}
    before = {name: getattr(_config, name) for name in values}
    _config.__dict__.update(values)
    try:
        yield
    finally:
        _config.__dict__.update(before)


def inlined(function: Callable[..., Any]) -> Any:
    """For what loops call: it becomes a part of them."""
    with _numba_set():
        return njit(inline="always", **_HOW)(function)


class Loop:
    """A compiled loop: where it lies in memory, and as a function of that of the table which it is handed over."""

    def __init__(self, function: Any) -> None:
        self.function = function  # whose machine code goes with it
        self.address: int = function.address
        self.call: Any = CFUNCTYPE(None, c_void_p)(function.address)


def compiled(function: Any) -> Loop:
    """For a loop that `share` runs, whose only argument is what that hands over: compiled at once, or read where it is
    kept."""
    folder = kept()
    if folder is not None:
        try:
            with _numba_set(CACHE_DIR=str(folder)):
                loop = cfunc(_HANDED_OVER, cache=True, **_HOW)(function)
        except Exception:  # noqa: BLE001 (a full disk, a broken file; if it is the loop, it is raised again below)
            rmtree(folder, ignore_errors=True)
        else:
            if not loop.cache_hits:
                forget_others(folder)
            return Loop(loop)
    with _numba_set():
        return Loop(cfunc(_HANDED_OVER, **_HOW)(function))
