"""Runs that are killed without warning; `benchmarks/killed_runs.py` does the same a hundred times."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tehon

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "killed_runs.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has neither fork nor kill -9")
def test_killed_runs_resume_to_the_bytes_of_the_straight_run(nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--model", str(nano), "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(tehon.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf8"))
    assert found["killed runs that were resumed to the bytes of the straight run"] >= 2
    assert found["kills"] >= 3
