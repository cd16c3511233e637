"""What is known of this machine's processor, without PyTorch."""

import ctypes
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")  # of Linux
_AVX512F = 41  # Windows' PF_AVX512F_INSTRUCTIONS_AVAILABLE


@cache
def amd_with_avx512() -> bool:
    """Whether it is one of AMD's that has AVX-512, as those since Zen 4."""
    if sys.platform == "win32":
        kernel: Any = ctypes.windll.kernel32
        return "AuthenticAMD" in platform.processor() and bool(kernel.IsProcessorFeaturePresent(_AVX512F))
    words = _CPUINFO.read_text("utf8").split() if _CPUINFO.exists() else []
    return "AuthenticAMD" in words and "avx512f" in words
