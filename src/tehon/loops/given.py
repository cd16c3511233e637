"""What a loop is given: a table of whole numbers, as `tehon.loops.threads` fills it in.

First how many tasks are begun, how many there are, and how many are done; then each argument: where an array lies and
its sides, or a number.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types

from tehon.loops.compiled import inlined, inserted
from tehon.loops.threads import EACH, HEAD


@inserted
def _counted_up(_: Any, given: Any, place: Any) -> Any:
    """given[place] += 1, of several threads one after the other: what it was before."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        where = builder.gep(arguments[0], [arguments[1]])
        return builder.atomic_rmw("add", where, ir.IntType(64)(1), "seq_cst")

    return types.int64(given, types.int64), generate


@inserted
def _at(_: Any, address: Any) -> Any:
    """The numbers that lie there."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


@inlined
def next_task(given: Any, before: Any) -> Any:
    """The number of a task that nobody has begun, below zero when there is none. `before` is what this thread has just
    done, below zero if nothing yet."""
    if before >= 0:
        _counted_up(given, 2)
    task = _counted_up(given, 0)
    return task if task < given[1] else -1


@inlined
def array4(given: Any, place: Any) -> Any:
    """The argument at a place, of four dimensions."""
    at = HEAD + EACH * place
    return carray(_at(given[at]), (given[at + 1], given[at + 2], given[at + 3], given[at + 4]))


@inlined
def array3(given: Any, place: Any) -> Any:
    """The argument at a place, of three dimensions."""
    at = HEAD + EACH * place
    return carray(_at(given[at]), (given[at + 1], given[at + 2], given[at + 3]))


@inlined
def array2(given: Any, place: Any) -> Any:
    """The argument at a place, of two dimensions."""
    at = HEAD + EACH * place
    return carray(_at(given[at]), (given[at + 1], given[at + 2]))


@inlined
def array1(given: Any, place: Any) -> Any:
    """The argument at a place, of one dimension."""
    at = HEAD + EACH * place
    return carray(_at(given[at]), (given[at + 1],))


@inlined
def number(given: Any, place: Any) -> Any:
    """The argument at a place, a float."""
    return np.int64(given[HEAD + EACH * place]).view(np.float64)


@inlined
def count(given: Any, place: Any) -> Any:
    """The argument at a place, an int."""
    return given[HEAD + EACH * place]


@inlined
def count_up(given: Any, place: Any) -> Any:
    """Adds one to the argument at a place, an int, of several threads one after the other: what it was before."""
    return _counted_up(given, HEAD + EACH * place)
