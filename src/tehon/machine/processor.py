"""What is known of this machine's processor, without PyTorch."""

import ctypes
import platform
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")  # of Linux
_LOAD = Path("/proc/loadavg")
QUIET_SPINS = 10_000
_AVX512F = 41  # Windows' PF_AVX512F_INSTRUCTIONS_AVAILABLE


@cache
def amd_with_avx512() -> bool:
    """Whether it is one of AMD's that has AVX-512, as those since Zen 4."""
    if sys.platform == "win32":
        kernel: Any = ctypes.windll.kernel32
        return "AuthenticAMD" in platform.processor() and bool(kernel.IsProcessorFeaturePresent(_AVX512F))
    words = _CPUINFO.read_text("utf8").split() if _CPUINFO.exists() else []
    return "AuthenticAMD" in words and "avx512f" in words


def spins() -> int:
    """How often threads of GNU's OpenMP look for work before they sleep: for some 150 microseconds on an AMD where
    nothing else computes now, as waking them takes a third of that; a tenth as often where something does, which would
    wait for threads that only look."""
    with suppress(OSError):  # another system, or one that hides it
        for _ in range(5):  # something small is always about for a moment
            words = _LOAD.read_text("utf8").split()
            if len(words) < 4:
                break
            if words[3].startswith("1/"):  # of all threads only this one
                return QUIET_SPINS
            time.sleep(0.001)
    return QUIET_SPINS // 10
