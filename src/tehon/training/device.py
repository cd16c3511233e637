"""Where a training computes and in which numbers, and whether that device can: found out before anything is loaded.

>>> check_device(choose_device("auto"), computing("bf16"), "sdpa")
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from tehon.families.packing import pack_layer
from tehon.messages.problem import Problem, reason_of
from tehon.processes import Place

_TYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_OWN_THREADS = torch.get_num_threads()
_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
)  # of mps; of a CPU on Windows and elsewhere


def choose_device(wanted: str) -> torch.device:
    """The device by its setting; a Problem when this machine has none of that kind."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[wanted]:
        raise Problem("device_missing", field="training.device", device=wanted)
    return torch.device(wanted)


def check_cards(device: torch.device, place: Place) -> None:
    """A Problem when this machine has fewer graphics cards than processes."""
    cards = torch.cuda.device_count()
    if device.type == "cuda" and place.local_count > cards:
        raise Problem("too_few_cards", field="training.device", processes=place.local_count, count=cards)
    if device.type == "mps" and place.count > 1:
        raise Problem("device_alone", field="training.device", device="mps")


def computing(mixed_precision: str) -> torch.dtype:
    """The number type of U-Net and text encoders."""
    return _TYPES[mixed_precision]


def use_threads(count: int) -> None:
    """Sets how many threads compute on the CPU; 0 leaves PyTorch's own number."""
    torch.set_num_threads(count or _OWN_THREADS)


def check_device(device: torch.device, dtype: torch.dtype, attention: str = "auto", storage: str = "same") -> None:
    """A Problem when the device can't compute in the type, not with this attention, or not unpack this storage."""
    if attention == "xformers" and device.type != "cuda":
        raise Problem("attention_device", field="memory.attention", value=attention, device=device.type)
    name = next(name for name, known in _TYPES.items() if known == dtype)
    if name != "no":
        reason = _trouble(partial(_every_operation, device, dtype))
        if reason:
            field = "precision.mixed_precision"
            raise Problem("precision_device", field=field, value=name, device=device.type, reason=reason)
    if storage != "same":
        reason = _trouble(partial(_unpacked, storage, device, dtype))
        if reason:
            field = "precision.base_storage"
            raise Problem("storage_device", field=field, value=storage, device=device.type, reason=reason)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking, of whatever device; only that of CUDA has an error of its own in PyTorch."""
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


@contextmanager
def memory_of(device: torch.device, run: Path | None = None) -> Generator[None, None, None]:
    """Inside the block a lack of memory is a Problem: that of the run in a directory, else that of drawing pictures."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if run is None:
            raise Problem("out_of_memory_drawing", field="--device", device=device.type) from error
        raise Problem("out_of_memory", field="training.device", device=device.type, path=run) from error


def _trouble(attempt: Callable[[], object]) -> str:
    """Why something can't be done here, in one line; '' when it can."""
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  packages have errors of their own
        return reason_of(error)
    return ""


def _unpacked(storage: str, device: torch.device, dtype: torch.dtype) -> None:
    layer = nn.Linear(64, 64, device=device, dtype=dtype)
    pack_layer(layer, layer.weight.detach(), storage, dtype)
    layer(torch.ones(1, 64, device=device, dtype=dtype, requires_grad=True)).sum().backward()


def _every_operation(device: torch.device, dtype: torch.dtype) -> None:
    """Forward and backward of what the networks are made of, on a few numbers. RuntimeError for what is missing."""
    if device.type == "cuda" and dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise RuntimeError("this graphics card has no bf16")
    x = torch.ones(1, 8, 4, 4, device=device, dtype=dtype, requires_grad=True)
    layers: list[nn.Module] = [nn.Conv2d(8, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Upsample(scale_factor=2.0)]
    tokens = nn.Sequential(*layers).to(device, dtype)(x).flatten(2).transpose(1, 2)
    tokens = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()).to(device, dtype)(tokens)
    heads = tokens.unflatten(-1, (2, 4)).transpose(1, 2)
    F.scaled_dot_product_attention(heads, heads, heads).float().square().mean().backward()
