"""A Stable Diffusion 1.5 of real size, with random weights, from the file to the third step on this machine.

    python benchmarks/real_size.py [--folder FOLDER] [--only PIECE ...]

It needs 11 GB of disk for as long as it runs, on Linux. The U-Net of 860 million numbers, the text encoder and the VAE
are written in diffusers' layout, as a checkpoint of one file, and as one in half precision. Then it is asserted

- that folder and checkpoint give the same tensors, bit for bit;
- that the noise predicted is that of diffusers' own network, to 1e-5;
- that three steps at 256 x 256 in float32 stay under 8 GB of resident memory, from each of the files.

`benchmarks/results/real_size.json` gets the seconds from the start of the process to the end of the first step, and the
most memory that was resident; "together" is the same training when no network is ever let go.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "real_size.json"
TWINS = Path(__file__).parents[1] / "tests" / "twins.py"
MOST_BYTES = 8e9
CLOSE = 1e-5
KINDS = {"folder": "folder", "checkpoint": "model.safetensors", "half checkpoint": "half.safetensors"}
TOGETHER = """
import sys
from tehon.cli.main import main
from tehon.families.parts import LatentParts
LatentParts.release_but = lambda self, needed: [getattr(self, part) for part in self.model.configs] and None
sys.exit(main(sys.argv[1:]))
"""


def twins() -> Any:
    spec = importlib.util.spec_from_file_location("twins", TWINS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(root: Path) -> None:
    """The model in all layouts. The folder's networks are mapped into memory, so that there is one copy at a time."""
    import torch
    from safetensors.torch import save_file

    from tehon.catalog.detect import find_model
    from tehon.families.family import behaviour_of

    make = twins()
    make.write_folder(make.build("sd1", make.REAL["sd1"], make.REAL_VAE, make.REAL_TEXT), root / KINDS["folder"], "sd1")
    model = find_model(str(root / KINDS["folder"]))
    parts = behaviour_of(model.family).load(model, torch.float32, torch.device("cpu"))
    tensors = make.original({part: getattr(parts, part) for part in model.configs}, "sd1")
    save_file(tensors, root / KINDS["checkpoint"])
    for name in tensors:
        tensors[name] = tensors[name].to(torch.float16)
    save_file(tensors, root / KINDS["half checkpoint"])


def check(root: Path) -> dict[str, Any]:
    """Folder against checkpoint, and the checkpoint's prediction against that of diffusers from the folder."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from tehon.catalog.detect import demo_folder, find_model
    from tehon.families.family import behaviour_of
    from tehon.weights.model import part_tensors

    one = find_model(str(root / KINDS["folder"]))
    other = find_model(str(root / KINDS["checkpoint"]), tokenizer=str(demo_folder()))
    counts: dict[str, int] = {}
    for part in ("unet", "text_encoder", "vae"):
        mine, its = part_tensors(one, part), part_tensors(other, part)
        if part == "text_encoder":  # the folder's names are those of the library that wrote it
            mine = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in mine.items()}
        assert mine.keys() == its.keys(), part
        assert all(torch.equal(mine[name], its[name]) for name in mine), part
        counts[part] = sum(tensor.numel() for tensor in its.values())
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, 4, 32, 32, generator=generator)
    states = torch.randn(1, 77, 768, generator=generator)
    times = torch.tensor([500])
    behaviour = behaviour_of(other.family)
    with torch.no_grad():
        ours = behaviour.predict(
            behaviour.load(other, torch.float32, torch.device("cpu")), noisy, times, {"states": states}
        )
        network: Any = UNet2DConditionModel.from_pretrained(root / KINDS["folder"] / "unet")
        theirs = network.eval()(noisy, times, states).sample
    difference = float((ours - theirs).abs().max())
    assert float(theirs.std()) > 0.01, "a prediction that is nothing would equal anything"
    assert difference < CLOSE, difference
    return {"numbers": counts, "prediction_differs_by": difference, "prediction_deviation": float(theirs.std())}


def peak(process: int) -> int:
    """The most bytes that a process has had resident until now, those mapped from files included."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def settings(root: Path, kind: str, text_rate: float, storage: str, output: Path) -> str:
    from tehon.catalog.detect import demo_folder

    vocabulary = "" if kind == "folder" else f'tokenizer = "{demo_folder()}"\n'
    return f"""
[model]
path = "{root / KINDS[kind]}"
{vocabulary}
[data]
folder = "{root / "pictures"}"
resolution = 256
[optimizer]
text_encoder_lr = {text_rate}
[precision]
base_storage = "{storage}"
[training]
max_train_steps = 3
seed = 1
device = "cpu"
[output]
folder = "{output}"
name = "real"
"""


def train(root: Path, kind: str, text_rate: float, *, together: bool = False, storage: str = "same") -> dict[str, Any]:
    """Three steps in a process of their own: when it got where, and the most memory of the whole."""
    place = Path(tempfile.mkdtemp(dir=root))
    (place / "run.toml").write_text(settings(root, kind, text_rate, storage, place / "out"))
    start = time.monotonic()
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *(["-c", TOGETHER] if together else ["-m", "tehon"]), "train", str(place / "run.toml")],
            stdout=log,
            stderr=log,
            env=os.environ | {"XDG_CACHE_HOME": str(place)},
        )
    first, most = 0.0, 0
    while process.poll() is None:
        if not first and list((place / "out" / "runs").glob("*/metrics.jsonl")):
            first = time.monotonic() - start
        with suppress(OSError, StopIteration):  # it may just have ended
            most = peak(process.pid)
        time.sleep(0.02)
    seconds = time.monotonic() - start
    assert process.returncode == 0, (place / "log").read_text()
    (metrics,) = (place / "out" / "runs").glob("*/metrics.jsonl")
    losses = [json.loads(line)["loss"] for line in metrics.read_text().splitlines()]
    assert len(losses) == 3
    assert most < MOST_BYTES, most
    return {
        "file": kind,
        "text_encoder": "trained" if text_rate else "not trained",
        "networks": "together" if together else "in phases",
        "base_storage": storage,
        "seconds_to_first_step": round(first, 1),
        "seconds": round(seconds, 1),
        "peak_gigabytes": round(most / 1e9, 2),
        "losses": losses,
    }


def in_process_of_its_own(name: str, root: Path) -> Any:
    """What a function of this file gives, without its memory staying here."""
    words = [sys.executable, __file__, "--within", name, "--folder", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def prepare(root: Path) -> None:
    """Pictures and model, once."""
    from tehon.demo.scenes import scene

    done = root / "written"
    if done.exists():
        return
    pictures = root / "pictures" / "1_shapes"
    pictures.mkdir(parents=True)
    for number in range(3):
        scene(number, 3).draw().resize((256, 256)).save(pictures / f"{number}.png")
    in_process_of_its_own("write", root)
    done.touch()


PIECES = {
    "same": lambda root: in_process_of_its_own("check", root),
    "folder": lambda root: train(root, "folder", 5e-5),
    "checkpoint": lambda root: train(root, "checkpoint", 5e-5),
    "half": lambda root: train(root, "half checkpoint", 5e-5),
    "in phases": lambda root: train(root, "checkpoint", 0.0),
    "stored in half": lambda root: train(root, "checkpoint", 0.0, storage="fp16"),
    "together": lambda root: train(root, "checkpoint", 0.0, together=True),
}
EQUAL = (("folder", "checkpoint"), ("in phases", "together"))
"""Neither the layout of the file nor letting networks go changes a loss."""


def measure(root: Path, names: list[str]) -> None:
    """Does the pieces, each of which is in the results as soon as it is done."""
    prepare(root)
    RESULT.parent.mkdir(exist_ok=True)
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
    }
    found: dict[str, Any] = {}
    for name in names:
        found = json.loads(RESULT.read_text("utf8")) if RESULT.exists() else {}
        found |= {name: PIECES[name](root)} | machine
        RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf8")
        print(name, json.dumps(found[name]), flush=True)
    for one, other in EQUAL:
        if {one, other} <= found.keys():
            assert found[one]["losses"] == found[other]["losses"], (one, other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the model stays; without it a temporary one")
    parser.add_argument("--only", choices=list(PIECES), nargs="+", default=list(PIECES))
    parser.add_argument("--within", choices=("write", "check"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        print(json.dumps({"write": write, "check": check}[options.within](options.folder)))
    elif options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.folder, options.only)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options.only)


if __name__ == "__main__":
    main()
