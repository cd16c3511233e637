"""Moving what the processor has made to the device that computes, without waiting for that device."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A graphics card fetches it from pinned memory when its own work has come that far; from
    other memory the processor would have to wait for that."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
