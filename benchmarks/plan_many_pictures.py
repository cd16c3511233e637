"""How long planning many small pictures takes, the first time and when they are known, and what memory a picture needs.

    python benchmarks/plan_many_pictures.py [PICTURES]

A few hundred different pictures are drawn; all others are hard links to them. Every picture has a caption file. Each
plan is a fresh process; of three that know the pictures already the one counts that kept the processors busy for the
shortest time, since other programs may be at work. The figures go to `benchmarks/results/plan_many_pictures.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from operator import itemgetter
from pathlib import Path
from typing import Any

from PIL import Image

RESULT = Path(__file__).parent / "results" / "plan_many_pictures.json"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""In which Python keeps what it has compiled, as it does unless it is told otherwise."""
DIFFERENT = 500
WARM = 3
PLAN = """
import gc, json, resource, sys, time
start = time.perf_counter()
gc.set_threshold(100_000)  # as the command does
from pathlib import Path
from tehon.planning.plan import make_plan
from tehon.planning.report import as_text
from tehon.settings.files import load_settings
plan = make_plan(load_settings(Path(sys.argv[1]), {}))
text = as_text(plan)
seconds = time.perf_counter() - start
own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
computed = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
status = Path("/proc/self/status")  # ru_maxrss starts at the peak of the process that started this one
lines = status.read_text().splitlines() if status.exists() else []
peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print(json.dumps([len(plan.pictures), seconds, computed, (peaks or [own.ru_maxrss])[0] * 1024]))
"""


def draw(folder: Path, count: int) -> None:
    """`count` pictures of 64 x 64 with captions, spread over ten picture folders."""
    first = folder / "first"
    first.mkdir(parents=True)
    for number in range(min(DIFFERENT, count)):
        picture = Image.effect_noise((64, 64), 40 + number % 60).convert("RGB")
        picture.save(first / f"{number}.jpg", quality=90)
    for number in range(count):
        place = folder / "pictures" / f"{number % 10 + 1}_thing {number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(first / f"{number % DIFFERENT}.jpg", place / f"{number:06d}.jpg")
        (place / f"{number:06d}.txt").write_text(f"a thing, number {number}, tag {number % 7}", "utf8")


Figures = tuple[int, float, float, int]


def plan(config: Path, cache: Path) -> Figures:
    """(pictures, seconds, seconds that processors worked on it, peak bytes) of one plan in a process of its own."""
    environment = ENVIRONMENT | {"XDG_CACHE_HOME": str(cache), "LOCALAPPDATA": str(cache)}
    done = subprocess.run([sys.executable, "-c", PLAN, str(config)], env=environment, capture_output=True, check=True)
    pictures, seconds, computed, peak = json.loads(done.stdout)
    return pictures, seconds, computed, peak


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Plans `count` pictures, new and known, and a tenth of them for the memory that each one adds."""
    config = folder / "plan.toml"
    sizes: dict[int, tuple[Figures, Figures]] = {}
    for number in (count // 10, count):
        place = folder / str(number)
        draw(place, number)
        config.write_text(
            f'[model]\npath = "demo"\n[data]\nfolder = "{(place / "pictures").as_posix()}"\nresolution = 64\n'
            f'[output]\nfolder = "{(folder / "out").as_posix()}"\n',
            "utf8",
        )
        time.sleep(2.1)  # files that were changed a moment ago are not remembered
        first, *known = (plan(config, folder / f"cache-{number}") for _ in range(1 + WARM))
        sizes[number] = first, min(known, key=itemgetter(2))
    (small, *_, small_peak), (large, *_, large_peak) = sizes[count // 10][1], sizes[count][1]
    first, warm = sizes[count]
    return {
        "pictures": large,
        "first_seconds": round(first[1], 2),
        "first_processor_seconds": round(first[2], 2),
        "warm_seconds": round(warm[1], 2),
        "warm_processor_seconds": round(warm[2], 2),
        "warm_bytes_per_picture": round((large_peak - small_peak) / (large - small)),
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=int, nargs="?", default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.pictures)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
