"""Networks of diffusers and transformers, built from their configuration and filled with tensors of ours.

This takes a third of the time of their `from_pretrained` and keeps no second copy of the weights. Every tensor has to
find its place: a missing or left-over one is a Problem, never a random initial value.
"""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tehon.families.packing import pack_layer, packable
from tehon.machine.pages import let_go
from tehon.messages.problem import Problem

Network = TypeVar("Network", bound=nn.Module)


def fill(
    network: Network,
    tensors: dict[str, Tensor],
    dtype: torch.dtype,
    device: torch.device,
    path: Path,
    storage: str | None = None,
) -> Network:
    """Puts tensors into a network that was built on the meta device, and freezes it. `path` is what a Problem names,
    `storage` a kind of `tehon.families.packing` in which the weights of its layers are kept."""
    own = network.state_dict()
    strangers = sorted(tensors.keys() ^ own.keys())
    if strangers:
        raise Problem("model_unreadable", field="model.path", path=path, reason=f"{strangers[0]} does not fit")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            shapes = f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
            raise Problem("model_unreadable", field="model.path", path=path, reason=shapes)
    layers = dict(network.named_modules()) if storage else {}
    for name in list(tensors):  # one after the other, so that there is never a second copy of all
        tensor = tensors.pop(name)
        place, _, end = name.rpartition(".")
        if storage and end == "weight" and packable(place, layers[place]):
            pack_layer(layers[place], _moved(tensor, device), storage, dtype)
        else:
            tensors[name] = _moved(tensor, device, dtype)
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of a file on a device, which leaves nothing of the file in memory where it is a copy."""
    found = tensor.to(device, dtype)
    if found.data_ptr() != tensor.data_ptr():
        let_go(tensor)
    return found


class Blank(TorchFunctionMode):
    """Inside `with Blank():` new networks have shapes but neither memory nor initial values (the meta device)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is torch.arange:  # for which the meta device would load the algebra of PyTorch's compiler
            kwargs = {"device": "cpu", **(kwargs or {})}
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> Any:
        self._meta = torch.device("meta")
        self._meta.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._meta.__exit__(*error)
