"""The weights of one part of a diffusers folder, for example of its `unet`.

Format: one .safetensors file or several with an index, or the same as .bin pickles, of which only tensors are read.
Beside the plain file there may be variants like `model.fp16.safetensors`; the plain one is taken where there is one.

>>> read_part(Path("model/unet"))["conv_in.weight"].shape
torch.Size([320, 4, 3, 3])
"""

import pickle
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from tehon.catalog.weight_files import weight_files
from tehon.messages.problem import Problem, reason_of


def read_part(folder: Path) -> dict[str, Tensor]:
    """All tensors by name; a Problem when there are none or a file is damaged."""
    found: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            found |= _read(file)
        except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise Problem("model_unreadable", field="model.path", path=file, reason=reason_of(error)) from None
    return found


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return safetensors.torch.load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
