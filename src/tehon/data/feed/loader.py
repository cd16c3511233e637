"""Work done ahead of time, by other processes or by a thread, and handed over in order.

>>> for pieces in Loader(workers=2).map(read_views, jobs):
...     ...

What comes out is `map(work, jobs)`, whatever the number of workers: they only decide who does the work and when. `work`
is a function of a module, and its job says all it needs; so no worker has a memory that could tell results apart.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from tehon.messages.problem import Problem

Job = TypeVar("Job")
Result = TypeVar("Result")
AHEAD = 2  # jobs in the works for each worker


class Loader:
    """Workers that read ahead: so many processes, or for 0 a thread of this one."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """The results in the order of the jobs. A Problem of a job is raised in its turn, and one when a worker
        process has died. The workers start with the first result and end with the last."""
        waiting: deque[Future[Result]] = deque()
        pool = self._pool()
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > AHEAD * max(1, self.workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise Problem("worker_died", field="feed.max_data_loader_n_workers", count=self.workers) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _pool(self) -> Executor:
        if not self.workers:
            return ThreadPoolExecutor(1, "loader")
        # "spawn" is what every system has; a forked process would share torch's locks and threads.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, _settle)


def _settle() -> None:
    """In a worker: leaves Ctrl-C to the training, which may still need batches, and ends when the training is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
