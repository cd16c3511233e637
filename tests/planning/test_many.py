"""Planning many pictures: a smaller relative of `benchmarks/plan_many_pictures.py`."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
plan_many_pictures = import_module("plan_many_pictures")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="the memory of a process is asked for as Unix does")
def test_four_thousand_pictures_are_planned_within_their_share_of_time(tmp_path: Path) -> None:
    """100,000 pictures may take 30 s of both processors, and 3 s when they are known; starting takes 1 s more."""
    figures = plan_many_pictures.measure(tmp_path, 4000)
    assert figures["pictures"] == 4000
    assert figures["first_processor_seconds"] < 4000 / 100_000 * 60 + 2
    assert figures["warm_processor_seconds"] < 4000 / 100_000 * 3 + 1
    assert 0 < figures["warm_bytes_per_picture"] < 4000
