"""Kills a training again and again, without warning, and compares what comes out with a run that nobody killed.

`python benchmarks/killed_runs.py` trains the small model for 12 steps, saving a state at every step and a LoRA at every
second one. The process is killed (SIGKILL) after a random time, or at the moment when it is seen writing a file, and is
resumed, until it has been killed 100 times in all. Each run that reaches its end must have the same tensors, to the
last byte, as the straight one. A life may end anywhere: while loading, training, saving, or clearing up after the last.

The lives are forks of this process, so that each begins with everything imported. POSIX only.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from networks_demo import circumstances
from PIL import Image

from tehon.catalog.header import read_header
from tehon.planning.plan import make_plan
from tehon.runs.layout import RunDirectory
from tehon.runs.read import read_json, rows, states
from tehon.settings.files import validate
from tehon.training.run import resume_run, start_run

RESULT = Path(__file__).parent / "results" / "killed_runs.json"


def tree(folder: Path) -> dict[str, Any]:
    pictures = folder / "pictures" / "2_thing"
    pictures.mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), colour).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"a thing, {colour}, number {number}")
    return {
        "model": {"path": "demo"},
        "data": {"folder": str(folder / "pictures"), "resolution": 64, "batch_size": 2, "shuffle_caption": True},
        "network": {"rank": 2, "alpha": 1.0, "dropout": 0.1},
        "training": {"epochs": 4, "seed": 5, "device": "cpu"},
        "output": {
            "folder": str(folder / "out"),
            "name": "mine",
            "save_state_every_n_steps": 1,
            "save_every_n_steps": 2,
            "save_last_n_steps": 4,
        },
    }


def live(folder: Path) -> None:
    """One life of the run: begins it, or goes on with it."""
    runs = [RunDirectory(path) for path in sorted((folder / "out" / "runs").glob("mine-2*"))]
    begun = [run for run in runs if run.settings.is_file()]

    def quiet(name: str, facts: dict[str, Any]) -> None:
        pass

    if begun:
        resume_run(begun[-1], quiet)
    else:
        start_run(make_plan(validate(tree(folder))), quiet)


def fork(folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        live(folder)
        code = 0
    except BaseException as error:  # noqa: BLE001  a child of a fork must end here
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def writing(folder: Path, since: int = 0) -> list[str]:
    """The files that are being written, or were when the process died; `since` a time in nanoseconds."""
    found: list[str] = []
    for file in (folder / "out").rglob("*.new"):
        with suppress(FileNotFoundError):
            if file.name != "progress.json.new" and file.stat().st_mtime_ns >= since:
                found.append(file.name)
    return found


def kill(child: int, folder: Path, longest: float, rng: random.Random) -> bool:
    """Waits for a moment and kills. False when the process was done before."""
    born = time.time_ns()
    until = time.monotonic() + rng.uniform(0, longest)
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.002)
    if rng.random() < 0.5:  # wait on until it is writing
        until = time.monotonic() + longest
        while time.monotonic() < until and not writing(folder, born):
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def outcome(folder: Path) -> str:
    """The sha256 of the finished LoRA's tensors."""
    return read_header(folder / "out" / "mine.safetensors").metadata["sshs_model_hash"]


def moment(folder: Path, born: int) -> dict[str, str]:
    """What the process was at when it was killed."""
    runs = [RunDirectory(path) for path in sorted((folder / "out" / "runs").glob("mine-2*"))]
    begun = [run for run in runs if run.settings.is_file()]
    if not begun:
        return {"phase": "before the run has a directory", "state": "none yet"}
    half = sorted({name.partition("-step")[0].partition("-0")[0] for name in writing(folder, born)})
    opened = [row for row in rows(begun[-1].events) if row["event"] in ("opened", "started")]
    phase = str(read_json(begun[-1].progress).get("phase", "taking up")) if opened else "taking up"
    state = "there" if states(begun[-1]) else "none yet"
    return {"phase": f"{phase}, writing {half[0]}" if half else phase, "state": state}


def kill_often(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    straight = folder / "straight"
    start = time.monotonic()
    child = fork(straight)
    assert os.waitpid(child, 0)[1] == 0, "the straight run fails"
    longest = time.monotonic() - start
    wanted = outcome(straight)
    files = sorted(file.name for file in (straight / "out").glob("*"))
    phases: Counter[str] = Counter()
    stateless = runs = killed = 0
    lives: list[int] = []
    while killed < kills:
        runs += 1
        place = folder / f"run{runs}"
        deaths = 0
        while True:
            born = time.time_ns()
            child = fork(place)
            if killed < kills and kill(child, place, longest, rng):
                killed += 1
                deaths += 1
                found = moment(place, born)
                phases[found["phase"]] += 1
                stateless += found["state"] == "none yet"
                continue
            if killed >= kills:
                assert os.waitpid(child, 0)[1] == 0, f"run {runs} can't be resumed after {deaths} kills"
            break
        lives.append(deaths)
        assert (place / "out" / "mine.safetensors").is_file(), f"run {runs} can't be resumed after {deaths} kills"
        assert outcome(place) == wanted, f"run {runs} differs after {deaths} kills"
        left = sorted(file.name for file in (place / "out").glob("*"))
        assert left == files, f"run {runs} leaves {left}"
        assert not writing(place), f"run {runs} leaves {writing(place)}"
        shutil.rmtree(place)
    return {
        "kills": killed,
        "runs": runs,
        "kills of each run": lives,
        "kills before the first state": stateless,
        "kills by what the process was at": dict(phases.most_common()),
        "kills while a file was half written": sum(n for phase, n in phases.items() if "writing" in phase),
        "runs with the same tensors as the straight one": runs,
        "seconds of the straight run": round(longest, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        result = kill_often(options.kills, options.seed, Path(folder))
    options.out.write_text(json.dumps({**circumstances(), **result}, indent=2, ensure_ascii=False) + "\n", "utf8")
    print(options.out.read_text("utf8"))


if __name__ == "__main__":
    main()
