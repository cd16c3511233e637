"""Many pictures measured at once, by processes of their own: decoding holds up one core, and a decoder that crashes on
a damaged file takes its process along and not ours.

>>> measure_all(["pictures/10_mofu/01.png"])[0].size
(128, 128)
"""

import base64
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from tehon.data.plan.images import measure, measure_here
from tehon.data.plan.measurements import Measured

FEW = 300
"""Up to so many pictures starting processes takes longer than it saves."""
_CHUNK = 128
_Process = subprocess.Popen[str]


def measure_all(paths: Sequence[str], workers: int = 0) -> list[Measured]:
    """`measure` of each path, in their order. 0 workers: as many as this process has cores."""
    if len(paths) <= FEW:
        return measure_here(paths)
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    count = min(workers or _cores(), len(chunks))
    idle: SimpleQueue[_Process] = SimpleQueue()
    for _ in range(count):
        idle.put(_start())

    def send(chunk: Sequence[str]) -> list[Measured]:
        process = idle.get()
        found = _ask(process, chunk)
        if found is None:
            process.kill()
            process.wait()
            process = _start()
        idle.put(process)
        return found if found is not None else [_alone(path) for path in chunk]

    try:
        with ThreadPoolExecutor(count) as pool:
            return [one for found in pool.map(send, chunks) for one in found]
    finally:
        while not idle.empty():
            idle.get().communicate()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start() -> _Process:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf8"}
    return subprocess.Popen(
        [sys.executable, "-m", "tehon.data.plan.scan"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        encoding="ascii",
    )


def _ask(process: _Process, paths: Sequence[str]) -> list[Measured] | None:
    """One line of paths there, one line of answers back; None when the process is gone."""
    assert process.stdin, "the process was started with pipes"
    assert process.stdout, "the process was started with pipes"
    try:
        process.stdin.write(json.dumps(list(paths)) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except OSError:
        return None
    return [_unpacked(row) for row in json.loads(answer)] if answer else None


def _alone(path: str) -> Measured:
    """One picture in a process of its own, after the one that it shared has crashed."""
    process = _start()
    found = _ask(process, [path])
    process.communicate()
    return found[0] if found else Measured(error="the decoder crashed")


def _packed(one: Measured) -> list[object]:
    return [*one.size, base64.b85encode(one.digest).decode(), one.alpha, one.animated, one.error]


def _unpacked(row: list[object]) -> Measured:
    width, height, digest, alpha, animated, error = row
    assert isinstance(width, int) and isinstance(height, int), "a size is two numbers"  # noqa: PT018
    return Measured((width, height), base64.b85decode(str(digest)), bool(alpha), bool(animated), str(error))


def _answers() -> Iterator[str]:
    for line in sys.stdin:
        yield json.dumps([_packed(measure(path)) for path in json.loads(line)])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for answer in _answers():
        print(answer, flush=True)
