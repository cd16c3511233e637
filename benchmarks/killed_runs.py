"""Kills a training again and again, without warning, and compares what comes out with a run that nobody killed.

`python benchmarks/killed_runs.py` trains the small model for 4 steps on two pictures, with a state and a LoRA at every
step and a sample at every second one. Until there were a hundred kills, runs are begun, killed (SIGKILL) at a random
moment, and resumed to their end; of every third the resume is killed first too. At the end the tensors of all LoRAs,
the last state, losses and sample pictures must be those of the straight run, to the last byte, and no file may be left
that the straight run does not leave. After every kill each state that is there must be whole. The first thing that is
not so ends the script.

A moment is drawn in one of three ways: any time of the run; some time after a phase has begun (loading, encoding,
training, sampling, saving); or when a file is seen half written, and up to 5 ms on. The lives are forks of this
process, so that each begins with everything imported. POSIX only.

With `--folder` what was found so far is kept there, and the same command goes on with it.
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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from networks_demo import circumstances
from PIL import Image

from tehon.catalog.header import read_header
from tehon.planning.plan import make_plan
from tehon.runs.layout import RunDirectory
from tehon.runs.read import read_json, rows, state_step, states
from tehon.runs.status import look
from tehon.settings.files import validate
from tehon.training.assemble import assemble
from tehon.training.previews import draw_with
from tehon.training.run import resume_run, start_run
from tehon.training.state import read_state

RESULT = Path(__file__).parent / "results" / "killed_runs.json"
PHASES = ("loading", "encoding or the first step", "training", "training", "sampling", "saving")
WAYS = ("any time", "a phase", "half written", "half written")


def tree(model: str, folder: Path) -> dict[str, Any]:
    pictures = folder.parent / "pictures" / "2_thing"
    if not pictures.exists():
        pictures.mkdir(parents=True)
        for number, colour in enumerate(("red", "green")):
            Image.new("RGB", (64, 64), colour).save(pictures / f"{number}.png")
            (pictures / f"{number}.txt").write_text(f"a thing, {colour}, number {number}")
    return {
        "model": {"path": model},
        "data": {"folder": str(pictures.parent), "resolution": 64, "batch_size": 2, "shuffle_caption": True},
        "feed": {"cache_latents_to_disk": True, "cache_folder": str(folder / "cache")},
        "network": {"rank": 2, "alpha": 1.0, "dropout": 0.1},
        "training": {"epochs": 2, "seed": 5, "device": "cpu"},
        "samples": {"prompts": "a thing --w 64 --h 64 --s 1 --l 1", "every_n_steps": 2},
        "output": {
            "folder": str(folder / "out"),
            "name": "mine",
            "save_state_every_n_steps": 1,
            "save_every_n_steps": 1,
            "save_last_n_steps": 1,
        },
    }


def begun(folder: Path) -> RunDirectory | None:
    """The newest run that somebody can go on with."""
    runs = [RunDirectory(path) for path in (folder / "out" / "runs").glob("mine-2*")]
    runs = [run for run in runs if run.settings.is_file()]
    return max(runs, key=lambda run: run.settings.stat().st_mtime_ns, default=None)


def live(model: str, folder: Path) -> None:
    """One life of the run: begins it, or goes on with it."""

    def quiet(name: str, facts: dict[str, Any]) -> None:
        pass

    run = begun(folder)
    if run is not None:
        resume_run(run, quiet)
    else:
        start_run(make_plan(validate(tree(model, folder))), quiet)


def import_all(model: str, folder: Path) -> None:
    """Does here what comes before a first update, so that the lives don't spend most of their time on imports. No
    backward: its threads would not come along into a fork."""
    plan = make_plan(validate(tree(model, folder / "first")))
    trainer = assemble(plan)
    draw_with(trainer.behaviour, trainer.parts, 1, plan.samples.prompts[0])


def fork(model: str, folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        live(model, folder)
        code = 0
    except BaseException as error:  # noqa: BLE001  a child of a fork must end here
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def half_written(folder: Path, since: int = 0) -> list[str]:
    """The files that are being written, or were when the process died; `since` a time in nanoseconds. Without one, not
    those of a run that died before its settings were there: it has not begun, no command lists it."""
    found: list[str] = []
    runs = [run for run in (folder / "out" / "runs").glob("*") if since or (run / "settings.toml").exists()]
    for place in [folder / "out", *runs, *(below for run in runs for below in run.glob("*/"))]:
        with suppress(OSError):
            for entry in os.scandir(place):
                if entry.name.endswith(".new") and not entry.name.startswith("progress"):
                    with suppress(OSError):
                        if entry.stat().st_mtime_ns >= since:
                            found.append(entry.name)
    return found


def phase(folder: Path, born: int) -> str:
    """What the process that was born then is at: by its heartbeat, and by a sample that is on its way."""
    run = begun(folder)
    if run is None or not run.progress.exists() or run.progress.stat().st_mtime_ns < born:
        return "before loading"
    found, newest = str(read_json(run.progress).get("phase")), max(map(state_step, states(run)), default=0)
    if found == "training" and newest and newest % 2 == 0 and newest not in {row["step"] for row in rows(run.samples)}:
        return "sampling"
    return "encoding or the first step" if found == "encoding" else found  # told after that step


def moments(rng: random.Random, folder: Path, born: int, longest: float) -> Iterator[bool]:
    """Whether it is time, asked again and again."""
    way = rng.choice(WAYS)
    if way == "any time":
        until = time.monotonic() + rng.uniform(0, longest)
        while time.monotonic() < until:
            yield False
    elif way == "a phase":
        wanted = rng.choice(PHASES)
        while phase(folder, born) != wanted:
            yield False
        until = time.monotonic() + rng.uniform(0, longest / 4)
        while time.monotonic() < until:
            yield False
    else:
        skip, wanted = time.monotonic() + rng.uniform(0, longest), rng.choice(("step-", "step-", ""))  # a state, any
        while time.monotonic() < skip or not any(name.startswith(wanted) for name in half_written(folder, born)):
            yield False
        until = time.monotonic() + rng.uniform(0, 0.005)
        while time.monotonic() < until:
            yield False
    yield True


def kill(child: int, folder: Path, rng: random.Random, longest: float) -> dict[str, str] | None:
    """Waits for a moment and kills. What the process was at; None when it was done before."""
    born = time.time_ns()
    for now in moments(rng, folder, born, longest):
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return None
        if now:
            break
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        return None  # it was faster
    half = sorted({name.partition("-")[0].partition("_")[0] for name in half_written(folder, born)})
    run = begun(folder)
    whole = [] if run is None else states(run)
    for file in whole:
        read_state(file)
    return {
        "at": phase(folder, born),
        "half": half[0].removesuffix(".new").replace("mine", "LoRA or sample").replace("step", "state") if half else "",
        "state": "there" if whole else "none yet",
    }


def traces(folder: Path) -> dict[str, Any]:
    """All that a run leaves, without the times in it."""
    run = begun(folder)
    assert run is not None
    state = read_state(states(run)[0])
    losses = [
        {key: row[key] for key in ("step", "epoch", "loss", "gradient_norm", "rates")} for row in rows(run.metrics)
    ]
    samples = [(row["step"], row["tag"], row["line"], row["seed"]) for row in rows(run.samples)]
    return {
        "loras": {file.name: read_header(file).metadata["sshs_model_hash"] for file in loras(folder / "out")},
        "kept": {file.name: read_header(file).metadata["sshs_model_hash"] for file in loras(run.weights)},
        "state": [state["weights"].numpy().tobytes().hex(), repr(state["optimizer"]["state"])],
        "states": [file.name for file in states(run)],
        "losses": losses,
        "samples": samples,
        "pixels": [Image.open(run.previews / row["file"]).tobytes().hex() for row in rows(run.samples)],
        "previews": len(list(run.previews.iterdir())),
        "beside": sorted(file.name for file in run.path.iterdir()),
        "inbox": sorted(file.name for file in run.inbox.iterdir()),
        "half": half_written(folder),
    }


def loras(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def check_same(found: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    wrong = [key for key in wanted if found[key] != wanted[key]]
    short = {key: (str(found[key])[:200], str(wanted[key])[:200]) for key in wrong}
    assert not wrong, f"{what} differs from the straight run in {short}"


def trial(number: int, seed: int, model: str, folder: Path, wanted: dict[str, Any], longest: float) -> dict[str, Any]:
    """One run: killed once or twice, resumed to its end, compared."""
    rng = random.Random(f"{seed} {number}")
    place = folder / f"run{number}"
    shutil.rmtree(place, ignore_errors=True)
    start, kills = time.monotonic(), []
    for _ in range(2 if number % 3 == 0 else 1):
        found = kill(fork(model, place), place, rng, longest)
        if found is None:  # it had come to its end
            break
        kills.append(found)
    if kills:
        run = begun(place)
        # Killed after its last word, there is nothing to resume.
        done = run is not None and look(run).state == "finished"
        assert os.waitpid(fork(model, place), 0)[1] == (256 if done else 0), f"{place} can't be resumed"
    check_same(traces(place), wanted, f"{place} after {kills}")
    shutil.rmtree(place)
    return {"run": number, "kills": kills, "seconds": round(time.monotonic() - start, 1)}


def counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def kill_often(kills: int, seed: int, model: str, folder: Path) -> list[dict[str, Any]]:
    """All trials so far, until there were so many kills."""
    straight, log = folder / "straight", folder / "trials.jsonl"
    shutil.rmtree(straight, ignore_errors=True)
    import_all(model, folder)
    start = time.monotonic()
    assert os.waitpid(fork(model, straight), 0)[1] == 0, "the straight run fails"
    longest = time.monotonic() - start
    wanted = traces(straight)
    done = rows(log)
    while sum(len(one["kills"]) for one in done) < kills:
        done.append(trial(len(done) + 1, seed, model, folder, wanted, longest))
        with log.open("a") as stream:
            stream.write(json.dumps(done[-1]) + "\n")
    return done


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    all_kills = [one for run in done for one in run["kills"]]
    killed = sum(bool(one["kills"]) for one in done)
    return {
        "kills": len(all_kills),
        "killed runs that were resumed to the bytes of the straight run": killed,
        "runs that were done before their moment came": len(done) - killed,
        "kills before the first state": sum(one["state"] == "none yet" for one in all_kills),
        "kills while a file was half written": counted(one["half"] for one in all_kills if one["half"]),
        "kills by what the process was at": counted(one["at"] for one in all_kills),
        "seconds of each killed run in the mean": round(sum(one["seconds"] for one in done) / len(done), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--folder", type=Path, help="where to keep what was found so far")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork must not find threads of its parent
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["XDG_CACHE_HOME"] = temporary
        result = summary(kill_often(options.kills, options.seed, options.model, folder))
    options.out.write_text(json.dumps({**circumstances(), **result}, indent=2, ensure_ascii=False) + "\n", "utf8")
    print(options.out.read_text("utf8"))


if __name__ == "__main__":
    main()
