"""Tasks on several threads, by OpenMP where PyTorch brought it along and by Python's own threads."""

import ctypes
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tehon.loops import compiled as compiling
from tehon.loops import threads
from tehon.loops.compiled import compiled
from tehon.loops.given import array1, array2, array3, array4, count, next_task, number
from tehon.loops.threads import share

torch.ones(1)  # OpenMP is there once PyTorch is
THREADS: Any = threads


def note(given: Any) -> None:
    """Given times (tasks,): adds 1 for each task that is done."""
    times = array1(given, 0)
    task = next_task(given, -1)
    while task >= 0:
        times[task] += 1
        task = next_task(given, task)


def gather(given: Any) -> None:
    """Given arrays of four to one dimensions, a float and an int, and out (7,): writes sizes and last numbers."""
    whole, pages, rows, line = array4(given, 0), array3(given, 1), array2(given, 2), array1(given, 3)
    out = array1(given, 6)
    task = next_task(given, -1)
    while task >= 0:
        out[0] = whole.size + whole[-1, -1, -1, -1]
        out[1] = pages.size + pages[-1, -1, -1]
        out[2] = rows.size + rows[-1, -1]
        out[3] = line.size + line[-1]
        out[4], out[5], out[6] = number(given, 4), count(given, 5), count(given, 7)
        task = next_task(given, task)


@pytest.fixture(autouse=True)
def _kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "kept", lambda: None)


class Written:
    """A loop in Python, to see who calls it."""

    def __init__(self, work: Callable[[int], object]) -> None:
        def call(table: Any) -> None:
            given = ctypes.cast(table, ctypes.POINTER(ctypes.c_int64))
            while given[0] < given[1]:
                given[0] += 1
                work(given[0] - 1)
                given[2] += 1

        self.call: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(call)
        self.address = ctypes.cast(self.call, ctypes.c_void_p).value


@pytest.fixture(params=["OpenMP", "pool"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pool":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif THREADS._openmp() is None:
        pytest.skip("this PyTorch has no OpenMP of GNU's kind")


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 5000])
def test_every_task_is_done_once(tasks: int, count: int) -> None:
    times, loop = torch.zeros(tasks), compiled(note)
    for round in range(1, 4):  # threads that are there are used again
        share(loop, tasks, count, times)
        assert torch.equal(times, torch.full((tasks,), float(round)))


@pytest.mark.usefixtures("_way")
def test_tasks_run_at_the_same_time() -> None:
    together, found = threading.Barrier(3, timeout=30), set[int]()

    def work(_: int) -> None:
        together.wait()
        found.add(threading.get_ident())

    share(Written(work), 3, 3)
    assert len(found) == 3
    assert threading.get_ident() in found


def test_a_loop_sees_what_it_is_given() -> None:
    shapes = (2, 3, 4, 5), (3, 1, 2), (6, 7), (9,)
    given = [torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape) for shape in shapes]
    out = torch.zeros(7)
    share(compiled(gather), 1, 1, *given, 0.125, -3, out, True)
    assert out.tolist() == [2 * 120 - 1, 2 * 6 - 1, 2 * 42 - 1, 2 * 9 - 1, 0.125, -3, 1]


def test_fewer_threads_than_were_asked_for_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenMP gives where its own limits say so."""
    asked, loop = list[int](), compiled(note)

    def alone(address: int, table: Any, count: int, flags: int) -> None:
        asked.append(count)
        loop.call(table)

    monkeypatch.setattr(threads, "_openmp", lambda: alone)
    times = torch.zeros(7)
    share(loop, 7, 3, times)
    assert asked == [3]
    assert times.tolist() == 7 * [1.0]


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(7, dtype=torch.float64),
        torch.zeros(7, dtype=torch.int32),
        torch.zeros(14)[::2],
        torch.zeros(7, device="meta"),
        torch.zeros(1, 1, 1, 1, 7),
    ],
    ids=["64 bits", "whole numbers", "with gaps", "elsewhere", "five sides"],
)
def test_what_a_loop_would_misread_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(AssertionError, match="a loop would take"):
        share(compiled(note), 7, 1, wrong)


def test_an_interrupt_waits_until_nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    own, entered, done = threading.get_ident(), threading.Barrier(2, timeout=30), list[int]()

    def call(_: Any) -> None:
        entered.wait()
        if threading.get_ident() == own:
            raise KeyboardInterrupt
        time.sleep(0.1)
        done.append(1)

    loop: Any = SimpleNamespace(call=call)
    with pytest.raises(KeyboardInterrupt):
        share(loop, 2, 2)
    assert done == [1]


def greedy(given: Any) -> None:
    """Given a number: puts aside so many others."""
    task = next_task(given, -1)
    while task >= 0:
        aside = np.zeros(count(given, 0))
        aside[-1] = 1
        task = next_task(given, task)


@pytest.mark.usefixtures("_way")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # all that a loop can do is say it
def test_a_loop_without_memory_is_an_error() -> None:
    loop = compiled(greedy)
    for _ in range(2):
        with pytest.raises(MemoryError):
            share(loop, 2, 2, 2**50)
        share(loop, 2, 2, 2**5)


@pytest.mark.parametrize("ended", [0, 6])
def test_a_task_that_was_not_done_is_an_error(ended: int) -> None:
    """As where there is no memory for what a loop puts aside: it can't raise, and would leave numbers of no meaning."""

    def call(table: int) -> None:
        ctypes.cast(table, ctypes.POINTER(ctypes.c_int64))[2] = ended

    loop: Any = SimpleNamespace(call=call)
    with pytest.raises(MemoryError):
        share(loop, 7, 1)


@pytest.mark.parametrize("name", ["OMP_STACKSIZE", "GOMP_STACKSIZE"])
def test_openmp_is_left_alone_where_its_stacks_may_be_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda _: SimpleNamespace(GOMP_parallel=SimpleNamespace()))
    for other in ("OMP_STACKSIZE", "GOMP_STACKSIZE"):
        monkeypatch.delenv(other, raising=False)
    assert THREADS._openmp.__wrapped__() is not None
    monkeypatch.setenv(name, "64K")
    assert THREADS._openmp.__wrapped__() is None
