"""What a checkpoint in PyTorch's own format (.ckpt, .pt) holds, read without running anything in it and without torch.

Such a file is a zip whose `data.pkl` is a pickle: a program that may call any function. Here it can only name tensors;
whatever else it asks for ends the reading. Weights are later read by torch.load with `weights_only`.

>>> pickled_shapes(Path("model.ckpt"))["model.diffusion_model.input_blocks.0.0.weight"]
(320, 4, 3, 3)
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem

Shape = tuple[int, ...]


class _Tensor:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape


def _rebuilt(_storage: Any, _offset: int, shape: Shape, *_rest: Any) -> _Tensor:
    return _Tensor(tuple(shape))


def _parameter(tensor: Any, *_rest: Any) -> Any:
    return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "torch" and global_name.endswith("Storage"):
            return global_name
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}") from None

    def persistent_load(self, pid: Any, /) -> Any:
        return pid


def pickled_shapes(file: Path) -> dict[str, Shape]:
    """Shapes by tensor name, of `state_dict` where there is one. A Problem when the file holds anything but tensors, or
    is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as stream:
                content = _Reader(stream).load()
    except pickle.UnpicklingError as error:
        raise Problem("pickle_refused", field="model.path", path=file, reason=error) from None
    except (zipfile.BadZipFile, StopIteration, EOFError):
        raise Problem("pickle_damaged", field="model.path", path=file) from None
    except Exception as error:  # noqa: BLE001  a broken pickle can end in any exception
        raise Problem("pickle_refused", field="model.path", path=file, reason=type(error).__name__) from None
    tensors = content.get("state_dict", content) if isinstance(content, dict) else {}
    named: dict[Any, Any] = tensors if isinstance(tensors, dict) else {}
    return {str(name): value.shape for name, value in named.items() if isinstance(value, _Tensor)}
