"""What the system says of the processor."""

import platform
import sys
from pathlib import Path

import pytest

from tehon.machine import processor
from tehon.machine.processor import amd_with_avx512, spins

ZEN_5 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512bw\n\nprocessor\t: 1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is asked in another way")
@pytest.mark.parametrize(
    ("about", "found"),
    [
        (ZEN_5, True),
        (ZEN_5.replace("avx512f avx512bw", "avx"), False),
        (ZEN_5.replace("AuthenticAMD", "GenuineIntel"), False),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", False),
    ],
    ids=["AMD with AVX-512", "AMD without", "Intel", "ARM"],
)
def test_amd_with_avx512(about: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(about)
    monkeypatch.setattr(processor, "_CPUINFO", file)
    assert amd_with_avx512.__wrapped__() is found
    file.unlink()
    assert not amd_with_avx512.__wrapped__()


def test_windows_is_asked_for_the_maker_and_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Kernel:
        def IsProcessorFeaturePresent(self, feature: int) -> int:
            asked.append(feature)
            return 1

    class Windows:
        kernel32 = Kernel()

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(processor.ctypes, "windll", Windows(), raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD")
    assert amd_with_avx512.__wrapped__() is True
    assert asked == [41]
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6 Model 151 Stepping 2, GenuineIntel")
    assert amd_with_avx512.__wrapped__() is False


@pytest.mark.parametrize(
    ("load", "found"),
    [("0.52 0.58 0.59 1/467 9121\n", 10_000), ("0.52 0.58 0.59 3/467 9121\n", 1000), ("", 1000), (None, 1000)],
    ids=["alone", "beside two others", "empty", "no such file"],
)
def test_threads_look_for_work_longer_where_nothing_else_computes(
    load: str | None, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "loadavg"
    if load is not None:
        file.write_text(load)
    monkeypatch.setattr(processor, "_LOAD", file)
    assert spins() == found


def test_a_load_that_can_not_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_LOAD", tmp_path)  # a folder
    assert spins() == 1000
