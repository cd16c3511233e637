"""Loops on several threads of this process. Compiled loops don't hold Python's lock.

>>> share(lambda first, last: attend(query, key, value, out, total, first, last), heads, torch.get_num_threads())
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import get_ident
from typing import Any

Work = Callable[[int, int], object]


def share(work: Work, tasks: int, threads: int) -> None:
    """Calls work(first, last) so that each of `tasks` is done once, on this thread and up to `threads` - 1 others.
    No task may share in turn: it would wait for threads that wait for it."""
    parts = min(threads, tasks)
    bounds = [(part * tasks // parts, (part + 1) * tasks // parts) for part in range(parts)]
    if parts < 2:
        work(0, tasks)
    elif _openmp() is None:
        others = [_pool(threads - 1).submit(work, *bound) for bound in bounds[1:]]
        work(*bounds[0])
        for other in others:
            other.result()
    else:
        _by_openmp(work, bounds, threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "loops")


_CALLED: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Any:
    """What GNU's OpenMP has for a compiler to run a function on each of its threads, where PyTorch brought that library
    along. Its threads wait for PyTorch's next operation by spinning, and others would get no processor meanwhile. Not
    where somebody has set how large its threads' stacks are, which may be too small for the tiles of loops."""
    if "OMP_STACKSIZE" in os.environ or "GOMP_STACKSIZE" in os.environ:
        return None
    try:
        parallel: Any = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):  # another system's, or another OpenMP
        return None
    parallel.argtypes, parallel.restype = [_CALLED, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return parallel


def _by_openmp(work: Work, bounds: list[tuple[int, int]], threads: int) -> None:
    """On all `threads`, of which some may find nothing left: those that it has no use for would end, to be made anew
    for PyTorch's next operation. Where it gives fewer, as it may, these do what is left. An
    interrupt just before or after the lines of `call` is lost in ctypes, and is raised for it."""
    left = iter(bounds)
    failures: list[BaseException] = []
    ended: list[int] = []

    def call(_: Any) -> None:
        try:
            for bound in left:
                work(*bound)
        except BaseException as failure:  # noqa: BLE001 (raised again below; C can't pass it on)
            failures.append(failure)
        ended.append(get_ident())

    _openmp()(_CALLED(call), None, threads, 0)
    if failures:
        raise failures[0]
    if get_ident() not in ended:
        raise KeyboardInterrupt
