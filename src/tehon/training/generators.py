"""The generators of Python, numpy and torch that everybody in the process shares.

Our own random numbers come from keys and need none of them. An optimizer out of another library may draw from them, so
a run seeds them, keeps them in its states, and leaves them to whoever called it as they were.

>>> with seeded(7, device):
...     saved = generator_states(device)
...     restore_generators(saved, device)
"""

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator_states(device: torch.device) -> dict[str, Any]:
    """Of plain values and tensors, as a saved state needs them."""
    name, numbers, place, has_gauss, gauss = np.random.get_state(legacy=True)
    assert isinstance(numbers, np.ndarray), "the form that legacy states have"
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [name, numbers.tolist(), place, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


def restore_generators(saved: dict[str, Any], device: torch.device) -> None:
    """Brings saved generators back; one of a device that is not used now has nothing to go on with."""
    version, numbers, gauss = saved["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, words, place, has_gauss, left = saved["numpy"]
    np.random.set_state((name, np.array(words, dtype=np.uint32), place, has_gauss, left))
    torch.set_rng_state(saved["torch"].cpu())
    if device.type == "cuda" and "cuda" in saved:
        torch.cuda.set_rng_state(saved["cuda"].cpu(), device)
    if device.type == "mps" and "mps" in saved:
        torch.mps.set_rng_state(saved["mps"].cpu())


@contextmanager
def seeded(seed: int, device: torch.device) -> Generator[None, None, None]:
    """The generators start from a seed inside the block, and are after it as they were before."""
    before = generator_states(device)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_generators(before, device)
