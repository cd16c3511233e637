"""A second stream of a graphics card, for small products that leave most of the card idle and whose results nobody
waits for: the gradients of a LoRA's matrices.

It is used while a graph is captured, where forks and joins cost nothing but the order that they stand for.
"""

from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

_MOST_OPEN = 4
_IN_TURN = nullcontext()
_second: dict[int, Any] = {}
_open: deque[tuple[Any, tuple[Any, ...]]] = deque()


def beside(device: torch.device, *used: Any) -> AbstractContextManager[None]:
    """What is computed inside runs beside what follows; the tensors that it uses are kept until a later `beside`, or
    `joined`, has waited for it."""
    if device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
        return _IN_TURN
    return _begun(device, used)


@contextmanager
def _begun(device: torch.device, used: tuple[Any, ...]) -> Generator[None, None, None]:
    while len(_open) >= _MOST_OPEN:
        _join(device)
    first = torch.cuda.current_stream(device)
    second = _second.setdefault(first.device_index, torch.cuda.Stream(device))
    second.wait_stream(first)
    with torch.cuda.stream(second):
        yield
        _open.append((second.record_event(), used))


def joined(device: torch.device) -> None:
    """What comes after this on the current stream comes after all that was begun beside it."""
    while _open:
        _join(device)


def forgotten() -> None:
    """What was begun in a capture that failed is waited for by nobody."""
    _open.clear()


def _join(device: torch.device) -> None:
    done, _ = _open.popleft()
    torch.cuda.current_stream(device).wait_event(done)
