"""What several processes of one training tell each other: bytes for each update, and how long an exchange takes here.

`python benchmarks/several_processes.py` adds up vectors as long as the adapters of real models over Gloo, asks whether
to stop, and trains the demo's recipe with two processes. Bytes are those that went over the loopback interface, in a
network namespace of its own where nothing else speaks (Linux, as root). The figures go to
`benchmarks/results/several_processes.json`.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

RESULT = Path(__file__).parent / "results" / "several_processes.json"
WEIGHTS = {"SD 1.5, rank 8": 3_391_488, "SDXL, rank 8": 21_278_720}
"""Of all attention and feed-forward layers of the U-Net."""
ROUNDS = 10
STEPS = (4, 24)


def loopback() -> int:
    """Bytes that were received over the loopback interface since it is there."""
    lines = Path("/proc/net/dev").read_text("utf8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def one_of_several() -> None:
    """A process that exchanges; the first one prints what it found."""
    import torch

    from tehon.processes import place_here
    from tehon.training.process_group import joined

    found: list[dict[str, Any]] = []
    with joined(place_here()) as peers:
        for name, count in WEIGHTS.items():
            gradients, loss = torch.ones(count), torch.zeros(())
            peers.add_up(gradients, loss)
            peers.exchange(None)
            before, times = loopback(), []
            for _ in range(ROUNDS):
                peers.agree(False)
                start = time.perf_counter()
                peers.add_up(gradients, loss)
                times.append(time.perf_counter() - start)
            peers.agree(False)
            each = (loopback() - before) / ROUNDS / peers.count
            seconds = round(min(times), 4)
            found.append({"model": name, "weights": count, "bytes sent by each": round(each), "seconds": seconds})
        votes: list[float] = []
        for _ in range(200):
            start = time.perf_counter()
            peers.agree(False)
            votes.append(time.perf_counter() - start)
        if not peers.rank:
            print(json.dumps({"sums": found, "seconds to agree": round(median(votes), 6)}))


def together(count: int, command: list[str]) -> str:
    """Runs a command in so many processes; what the first one prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes: list[subprocess.Popen[str]] = []
    for rank in range(count):
        places = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        env = {**os.environ, **{name: str(value) for name, value in places.items()}, "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes), said
    return said[0]


def training() -> dict[str, Any]:
    """Bytes for each update of a whole training: what more updates cost more."""
    from tehon.demo.mofu import write_data_set

    sent: list[int] = []
    weights = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pictures"
        write_data_set(folder)
        settings = Path(name) / "settings.toml"
        settings.write_text(f'[model]\npath = "demo"\n[data]\nfolder = "{folder}"\nresolution = 128\n', "utf8")
        for steps in STEPS:
            words = ["train", str(settings), "--output.folder", name, "--output.name", f"run{steps}", "--json"]
            words += ["--training.max_train_steps", str(steps), "--training.epochs", "9", "--training.device", "cpu"]
            before = loopback()
            said = together(2, [sys.executable, "-m", "tehon", *words])
            sent.append(loopback() - before)
            events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
            weights = next(event["parameters"] for event in events if event["event"] == "started")
    each = (sent[1] - sent[0]) / (STEPS[1] - STEPS[0]) / 2
    start = round(sent[0] - 2 * STEPS[0] * each)
    return {"weights": weights, "bytes sent by each in an update": round(each), "bytes at the start": start}


def main() -> None:
    if "--one" in sys.argv:
        one_of_several()
        return
    if "--inside" not in sys.argv:
        inside = f"ip link set lo up && exec {sys.executable} {__file__} --inside"
        sys.exit(subprocess.run(["unshare", "--net", "sh", "-c", inside], check=False).returncode)
    command = [sys.executable, __file__, "--one"]
    found: dict[str, Any] = {str(count): json.loads(together(count, command)) for count in (2, 4)}
    machine = {"cores": os.cpu_count(), "processor": platform.machine()}
    result = {"machine": machine, "processes": found, "training with 2": training()}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
