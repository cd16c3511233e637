"""Loops on several threads of this process.

>>> share(attend, heads, torch.get_num_threads(), query, key, value, out, total)
"""

import ctypes
import os
from array import array
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Protocol

HEAD = 3
"""Numbers before those of the arguments (`tehon.loops.given`)."""
EACH = 5
"""Numbers of an argument."""
_FILL = [(0,) * (EACH - used) for used in range(EACH + 1)]


class Array(Protocol):
    """A tensor of numbers of 32 bits, one behind the other in this machine's memory, with four dimensions at most."""

    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def is_cpu(self) -> bool: ...
    def is_contiguous(self) -> bool: ...
    def is_floating_point(self) -> bool: ...
    def element_size(self) -> int: ...
    def data_ptr(self) -> int: ...


def share(loop: Any, tasks: int, threads: int, *given: Array | float) -> None:
    """Runs a compiled loop on this thread and up to `threads` - 1 others, until each of its tasks is done. It reads and
    writes the arrays that it is given where they lie; it holds no lock of Python's."""
    numbers = [0, tasks, 0]
    for one in given:
        if isinstance(one, int):
            numbers += one, *_FILL[1]
        elif isinstance(one, float):
            numbers += ctypes.c_int64.from_buffer(ctypes.c_double(one)).value, *_FILL[1]
        else:
            shape = one.shape
            plain = one.is_cpu and one.is_contiguous() and one.is_floating_point() and one.element_size() == 4
            assert plain, "a loop would take what lies elsewhere or is something else for its numbers"
            assert len(shape) < EACH, "a loop would take a side for the next argument"
            numbers += one.data_ptr(), *shape, *_FILL[len(shape) + 1]
    table = array("q", numbers)
    place = table.buffer_info()[0]
    parts = min(threads, tasks)
    parallel = _openmp() if parts > 1 else None
    if parts < 2:
        loop.call(place)
    elif parallel is None:
        others: list[Future[None]] = []
        try:
            others += (_pool(threads - 1).submit(loop.call, place) for _ in range(parts - 1))
            loop.call(place)
        finally:  # an interrupt too waits until nobody writes any more
            wait(others)
    else:  # on all threads, of which some may find nothing left: OpenMP ends those that it has no use for
        parallel(loop.address, place, threads, 0)
    if table[2] < tasks:  # a loop can't raise what it could not go on for
        raise MemoryError


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "loops")


@cache
def _openmp() -> Any:
    """What GNU's OpenMP has for a compiler to run a function on each of its threads, where PyTorch brought that library
    along. Its threads wait for PyTorch's next operation by spinning, and others would get no processor meanwhile. Not
    where somebody has set how large its threads' stacks are, which may be too small for the tiles of loops. (A process
    that was forked after its first use has none of its threads, and waits for them, as PyTorch's own operations do.)"""
    if "OMP_STACKSIZE" in os.environ or "GOMP_STACKSIZE" in os.environ:
        return None
    try:
        parallel: Any = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):  # another system's, or another OpenMP
        return None
    parallel.argtypes, parallel.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return parallel
