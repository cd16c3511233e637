"""Pages of mapped files that nobody will read again.

Weights lie in memory as their file is mapped. A weight that is copied into another order was read for that, and its
pages would stay resident beside the copy for as long as anything of the file is used: 1.9 GB of Stable Diffusion 1.5.
"""

import ctypes
import mmap
import sys
from pathlib import Path

from torch import Tensor

_DONTNEED = 4  # Linux's MADV_DONTNEED, madvise(2)


def let_go(tensor: Tensor) -> None:
    """Gives the whole pages of a contiguous tensor back to the system, if it lies in a mapped file (proc(5), maps).
    What was written to it since is lost, so nobody may use it afterwards. On other systems nothing happens."""
    first, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    if sys.platform != "linux" or not any(low <= first and end <= high for low, high in _mapped()):
        return
    page = mmap.PAGESIZE  # its neighbours may be of use still: only the pages that are its own
    first, end = -(-first // page) * page, end // page * page
    if end > first:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _DONTNEED)


def _mapped() -> list[tuple[int, int]]:
    """The addresses, from and to, at which files lie in this process's memory."""
    found: list[tuple[int, int]] = []
    for line in Path("/proc/self/maps").read_text("utf8", "replace").splitlines():
        addresses, _, _, _, inode = line.split(maxsplit=5)[:5]
        if inode != "0":
            low, high = addresses.split("-")
            found.append((int(low, 16), int(high, 16)))
    return found
