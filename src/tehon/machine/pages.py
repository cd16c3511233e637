"""Pages of memory that the system would hold too long, or take away and give again too often.

Weights lie in memory as their file is mapped. A weight that is copied into another order or number type was read for
that, and its pages would stay resident beside the copy for as long as anything of the file is used: 1.9 GB of Stable
Diffusion 1.5.
"""

import ctypes
import mmap
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

_DONTNEED = 4  # Linux's MADV_DONTNEED, madvise(2)
_FEWEST = 2**18  # bytes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's, mallopt(3)
_OWN_MOST = 32 * 2**20  # of the threshold that glibc finds by itself
_MOST = 2**30


def let_go(tensor: Tensor) -> None:
    """Gives the whole pages of a contiguous tensor back to the system, if it lies in a mapped file (proc(5), maps).
    What was written to it since is lost, so nobody may use it afterwards. On other systems nothing happens, nor with a
    tensor that is too small to look for."""
    if sys.platform != "linux" or tensor.device.type != "cpu" or tensor.nbytes < _FEWEST or not tensor.is_contiguous():
        return
    first, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    if not any(low <= first and end <= high for low, high in _mapped()):
        return
    page = mmap.PAGESIZE  # its neighbours may be of use still: only the pages that are its own
    first, end = -(-first // page) * page, end // page * page
    if end > first:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _DONTNEED)


@contextmanager
def large_blocks_kept() -> Generator[None, None, None]:
    """Within it glibc keeps large blocks that are freed, for those that come next; at the end it gives them back. By
    itself it asks the system for each above 32 MB and gets pages of zeros, one by one, which is a fifth of what the VAE
    of Stable Diffusion takes for a picture of 256 x 256. Afterwards glibc finds no threshold by itself any more; it has
    the one that it would come to. With other C libraries nothing happens."""
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _MOST)
    library.mallopt(_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _OWN_MOST)
        library.mallopt(_TRIM_THRESHOLD, 2 * _OWN_MOST)
        library.malloc_trim(0)


def _mapped() -> list[tuple[int, int]]:
    """The addresses, from and to, at which files lie in this process's memory."""
    found: list[tuple[int, int]] = []
    for line in Path("/proc/self/maps").read_text("utf8", "replace").splitlines():
        addresses, _, _, _, inode = line.split(maxsplit=5)[:5]
        if inode != "0":
            low, high = addresses.split("-")
            found.append((int(low, 16), int(high, 16)))
    return found
