"""What a checkpoint in PyTorch's own format (.ckpt, .pt) holds, read without running anything in it and without torch.

Such a file is a zip whose `data.pkl` is a pickle: a program that may call any function. Here it can only name tensors;
whatever else it asks for ends the reading. Weights are later read by torch.load with `weights_only`.

>>> pickled_header(Path("model.ckpt")).shapes["model.diffusion_model.input_blocks.0.0.weight"]
(320, 4, 3, 3)
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from tehon.catalog.header import Header
from tehon.messages.problem import Problem

_TYPES = {"HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "FloatStorage": ("F32", 4)}
_LOCAL_HEADER = 30  # bytes before the name of an entry in a zip file


class _Tensor(NamedTuple):
    """`storage` is what the pickle says of it: ("storage", type, name of the entry, device, numbers)."""

    storage: Any
    offset: int
    shape: tuple[int, ...]


def _rebuilt(storage: Any, offset: int, shape: tuple[int, ...], *_rest: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(map(int, shape)))


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


def pickled_header(file: Path) -> Header:
    """What `read_header` says of a safetensors file: shapes by tensor name, of `state_dict` where there is one, and of
    plain rows of floats their type and where they start. A Problem when the file holds anything but tensors, or is
    damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as stream:
                content = _Reader(stream).load()
            tensors = content.get("state_dict", content) if isinstance(content, dict) else {}
            named: dict[Any, Any] = tensors if isinstance(tensors, dict) else {}
            found = {str(name): value for name, value in named.items() if isinstance(value, _Tensor)}
            dtypes, starts = _places(file, archive, name.removesuffix("data.pkl"), found)
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    except pickle.UnpicklingError as error:
        raise Problem("pickle_refused", field="model.path", path=file, reason=error) from None
    except (zipfile.BadZipFile, StopIteration, EOFError, KeyError, struct.error):
        raise Problem("pickle_damaged", field="model.path", path=file) from None
    except Exception as error:  # noqa: BLE001  a broken pickle can end in any exception
        raise Problem("pickle_refused", field="model.path", path=file, reason=type(error).__name__) from None
    return Header({name: tensor.shape for name, tensor in found.items()}, dtypes, {}, 0, starts)


def _places(
    file: Path, archive: zipfile.ZipFile, folder: str, tensors: dict[str, _Tensor]
) -> tuple[dict[str, str], dict[str, int]]:
    """(type, place in the file) of the tensors of one dimension: PyTorch compresses nothing, so that their numbers
    can be read as they lie."""
    dtypes: dict[str, str] = {}
    starts: dict[str, int] = {}
    with file.open("rb") as stream:
        for name, tensor in tensors.items():
            _, kind, entry, *_ = tensor.storage
            if len(tensor.shape) != 1 or kind not in _TYPES:
                continue
            place = archive.getinfo(f"{folder}data/{entry}")
            if place.compress_type != zipfile.ZIP_STORED:
                continue
            stream.seek(place.header_offset)
            lengths = struct.unpack("<2H", stream.read(_LOCAL_HEADER)[-4:])
            dtypes[name], size = _TYPES[kind]
            starts[name] = place.header_offset + _LOCAL_HEADER + sum(lengths) + tensor.offset * size
    return dtypes, starts
