"""What comes out does not depend on who does the work, and a worker that dies is told, not waited for."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tehon.data.feed.loader import Loader
from tehon.messages.problem import Problem


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(Loader(workers).map(math.sqrt, [n * n for n in range(40)])) == [float(n) for n in range(40)]
    assert list(Loader(workers).map(math.sqrt, [])) == []


def test_the_jobs_are_taken_a_little_ahead_and_not_all_at_once() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    results = Loader(0).map(float, jobs())
    assert list(islice(results, 5)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert 5 < len(taken) < 10


@pytest.mark.parametrize("workers", [0, 1])
def test_a_problem_is_raised_in_its_turn(workers: int) -> None:
    from tehon.data.feed.views import View, read_views
    from tehon.data.plan.buckets import Placement
    from tehon.data.plan.variation import Look, Source

    gone = View(Source(Path("gone.png"), "", Placement((8, 8), (8, 8))), Look((0, 0)))
    results = Loader(workers).map(read_views, [(), (gone,)])
    assert next(results) == []
    with pytest.raises(Problem, match=r"gone\.png"):
        next(results)


def test_a_worker_that_dies_is_one_sentence() -> None:
    with pytest.raises(Problem, match=r"max_data_loader_n_workers.*2 processes"):
        list(Loader(2).map(os._exit, [3, 3, 3]))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no kill -9")
def test_workers_end_when_the_training_is_killed() -> None:
    code = """
import os, signal, time
from tehon.data.feed.loader import Loader
if __name__ == "__main__":
    results = Loader(1).map(abs, range(-9, 0))
    next(results)
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    children = [int(word) for word in done.stdout.split()]
    assert children
    for _ in range(100):
        if not any(Path(f"/proc/{child}").exists() for child in children):
            return
        time.sleep(0.1)
    pytest.fail("a worker lives on")


def test_ctrl_c_is_left_to_the_training() -> None:
    """A worker that gets the signal goes on with its job."""
    results = Loader(1).map(time.sleep, [0.0, 0.5])
    next(results)
    import multiprocessing

    for child in multiprocessing.active_children():
        assert child.pid
        os.kill(child.pid, signal.SIGINT)
    assert list(results) == [None]
