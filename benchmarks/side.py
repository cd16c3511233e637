"""One side of a comparison: a trainer in a process of its own that takes steps when it is told to.

Both sides live at the same time and take turns, so that whatever else the machine does meets both. Requests and answers
are one line of JSON each; what libraries print goes to the standard error.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

HERE = Path(__file__).parent


class Trainer(Protocol):
    """What a side can do once it is ready."""

    def step(self) -> None:
        """One whole update: batch, loss, backward, clipping, optimizer."""
        ...

    def guard(self, inputs: Path, answer: Path) -> None:
        """Writes the loss and all gradients for given weights, latents, noise and timesteps; changes the adapters'
        weights."""
        ...


def serve(build: Callable[[dict[str, Any]], Trainer]) -> None:
    """Builds the side that the first argument describes, takes a step, says so, and answers until the input ends."""
    started = float(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    trainer = build(json.loads(sys.argv[1]))
    ready = time.time() - started
    trainer.step()
    answers.write(json.dumps({"ready": ready, "first_step": time.time() - started}) + "\n")
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answers.write(json.dumps(_answer(trainer, **request)) + "\n")


def _answer(trainer: Trainer, do: str, **options: Any) -> dict[str, Any]:
    if do == "steps":
        rows = [_timed(trainer.step) for _ in range(options["count"])]
        return {"seconds": [row[0] for row in rows], "cpu_seconds": [row[1] for row in rows]}
    if do == "operators":
        return {"operators": _operators(trainer.step)}
    if do == "peak":
        return {"bytes": _peak()}
    assert do == "guard"
    trainer.guard(Path(options["inputs"]), Path(options["answer"]))
    return {}


def _timed(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of computing of all threads together, which other programs hardly change."""
    start, computed = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - computed


def _operators(step: Callable[[], None]) -> int:
    """How many operators PyTorch dispatches in a step, forward and backward; those that only view are counted too."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    with Counting() as counting:
        step()
    return counting.count


def _peak() -> int:
    """The most bytes that this process has had resident, those mapped from files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def drawn(key: str, weight: Any) -> Any:
    """A weight of a LoRA for the guard: numbers that depend on its key alone, and not zero, as B of a new one is."""
    import torch

    generator = torch.Generator().manual_seed(crc32(key.encode()))
    return 0.03 * torch.randn(weight.numel(), generator=generator).view(weight.shape)


class Side:
    """The other end: a process that serves."""

    def __init__(self, script: str, about: dict[str, Any]) -> None:
        command = [sys.executable, str(HERE / script), json.dumps(about), str(time.time())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)


@contextmanager
def side(script: str, about: dict[str, Any]) -> Iterator[Side]:
    """A side, whose process is over after the block."""
    one = Side(script, about)
    try:
        yield one
    finally:
        assert one.process.stdin is not None
        one.process.stdin.close()
        one.process.wait()
