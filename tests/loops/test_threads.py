"""Tasks on several threads, by OpenMP where PyTorch brought it along and by Python's own threads."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tehon.loops import threads
from tehon.loops.threads import share

torch.ones(1)  # OpenMP is there once PyTorch is
THREADS: Any = threads


@pytest.fixture(params=["OpenMP", "pool"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pool":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif THREADS._openmp() is None:
        pytest.skip("this PyTorch has no OpenMP of GNU's kind")


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 64])
def test_every_task_is_done_once(tasks: int, count: int) -> None:
    bounds: list[tuple[int, int]] = []
    for _ in range(3):  # threads that are there are used again
        bounds.clear()
        share(lambda first, last: bounds.append((first, last)), tasks, count)
        assert [task for bound in sorted(bounds) for task in range(*bound)] == list(range(tasks))
        assert len(bounds) == min(tasks, count)
        assert max(last - first for first, last in bounds) == -(-tasks // min(tasks, count))


@pytest.mark.usefixtures("_way")
def test_parts_run_at_the_same_time() -> None:
    together, found = threading.Barrier(3, timeout=30), set[int]()

    def work(first: int, last: int) -> None:
        together.wait()
        found.add(threading.get_ident())

    share(work, 7, 3)
    assert len(found) == 3
    assert threading.get_ident() in found


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("here", [True, False], ids=["on this thread", "on another"])
def test_what_goes_wrong_in_a_part_is_raised(here: bool) -> None:
    together, own = threading.Barrier(2, timeout=30), threading.get_ident()

    def work(first: int, last: int) -> None:
        together.wait()
        if (threading.get_ident() == own) == here:
            raise ValueError("went wrong")

    for _ in range(2):
        with pytest.raises(ValueError, match="went wrong"):
            share(work, 2, 2)


def test_fewer_threads_than_were_asked_for_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenMP gives where its own limits say so."""

    def alone(call: Any, data: None, count: int, flags: int) -> None:
        call(data)

    monkeypatch.setattr(threads, "_openmp", lambda: alone)
    done: list[int] = []
    share(lambda first, last: done.extend(range(first, last)), 7, 3)
    assert sorted(done) == list(range(7))


def test_an_interrupt_that_ctypes_drops_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that comes before this thread has begun."""

    def elsewhere(call: Any, data: None, count: int, flags: int) -> None:
        other = threading.Thread(target=call, args=(data,))
        other.start()
        other.join()

    monkeypatch.setattr(threads, "_openmp", lambda: elsewhere)
    with pytest.raises(KeyboardInterrupt):
        share(lambda first, last: None, 7, 3)


@pytest.mark.parametrize("name", ["OMP_STACKSIZE", "GOMP_STACKSIZE"])
def test_openmp_is_left_alone_where_its_stacks_may_be_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda _: SimpleNamespace(GOMP_parallel=SimpleNamespace()))
    for other in ("OMP_STACKSIZE", "GOMP_STACKSIZE"):
        monkeypatch.delenv(other, raising=False)
    assert THREADS._openmp.__wrapped__() is not None
    monkeypatch.setenv(name, "64K")
    assert THREADS._openmp.__wrapped__() is None
