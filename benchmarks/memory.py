"""How much memory a training has resident at its peak, beside what `tehon plan` says, and what checkpointing costs.

    python benchmarks/memory.py [--only SIZE-VARIANT ...] [--folder FOLDER]

Three steps in a process of its own for each combination of a size (SIZES) and a variant (VARIANTS), on Linux. Networks
of the middle and the real size have random weights; the real one is Stable Diffusion 1.5, takes 4 GB of disk for as
long as it runs, and is trained in the variants of REAL alone. `benchmarks/results/memory.json` gets for each
combination the peak of the resident memory (VmHWM), the estimate with its parts, the seconds of the fastest step, and
the losses;
`--table` prints the table of docs/memory.md, `--estimate` makes the estimates anew and measures nothing. Checkpointing
has to leave the losses as they are, to 1e-5.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from networks_demo import circumstances
from real_size import twins

from tehon.demo.scenes import scene
from tehon.planning.peak import estimate
from tehon.planning.plan import make_plan
from tehon.settings.files import validate

RESULT = Path(__file__).parent / "results" / "memory.json"
PICTURES = 8
CLOSE = 1e-5
MIDDLE: dict[str, dict[str, Any]] = {
    "unet": {"block_out_channels": [64, 128, 256, 256], "cross_attention_dim": 256},
    "vae": {"block_out_channels": [64, 128, 256, 256]},
    "text": {"hidden_size": 256, "num_hidden_layers": 8, "intermediate_size": 1024, "num_attention_heads": 4},
}
SIZES = {"demo": (128, 4), "middle": (256, 2), "real": (256, 1)}
"""{name: (side of the pictures, pictures at once)}."""
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "off": {},
    "large": {"memory": {"gradient_checkpointing": "large"}},
    "whole": {"memory": {"gradient_checkpointing": "whole"}},
    "unet": {"optimizer": {"text_encoder_lr": 0.0}},
    "batch": {"data": {"batch_size": 8}},
    "rank": {"network": {"rank": 128}, "training": {"ema_decay": 0.99}},
    "locon": {"network": {"kind": "locon", "conv_rank": 16}},
    "dora": {"network": {"dora": True}},
    "lokr": {"network": {"kind": "lokr"}},
    "bf16": {"precision": {"mixed_precision": "bf16"}},
    "fp8": {"precision": {"base_storage": "fp8"}},
    "8bit": {"optimizer": {"name": "AdamW8bit"}},
    "samples": {"samples": {"prompts": "a red cube --w 256 --h 256 --s 2", "every_n_steps": 2}},
}
REAL = ("off", "large", "whole", "unet")
CHILD = """
import json, sys, time
from pathlib import Path
from tehon.planning.plan import make_plan
from tehon.runs.read import rows
from tehon.settings.files import validate
from tehon.training.run import start_run

times = []
outcome = start_run(
    make_plan(validate(json.loads(sys.argv[1]))),
    lambda event, facts: times.append(time.perf_counter()) if event == "step" else None,
)
lines = Path("/proc/self/status").read_text().splitlines()
found = {
    "peak": next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")),
    "seconds": round(min(b - a for a, b in zip(times, times[1:])), 3),
    "losses": [row["loss"] for row in rows(outcome.run.metrics) if "loss" in row],
}
print(json.dumps(found))
"""


def prepare(root: Path, size: str) -> str:
    """The model's path; pictures and model are made once."""
    side = SIZES[size][0]
    pictures = root / f"pictures-{side}" / "1_shapes"
    if not pictures.exists():
        pictures.mkdir(parents=True)
        for number in range(PICTURES):
            scene(number, 3).draw().resize((side, side)).save(pictures / f"{number}.png")
    if size == "demo":
        return "demo"
    if not (root / size / "model_index.json").exists():
        subprocess.run([sys.executable, __file__, "--write", size, "--folder", str(root)], check=True)
    return str(root / size)


def write(root: Path, size: str) -> None:
    """A model of the middle or the real size, with the words of the demo."""
    make = twins()
    own = MIDDLE if size == "middle" else {"unet": {}, "vae": {}, "text": {}}
    nets = (make.REAL["sd1"] | own["unet"], make.REAL_VAE | own["vae"], make.REAL_TEXT | own["text"])
    make.write_folder(make.build("sd1", *nets), root / size, "sd1")


def settings(root: Path, size: str, variant: str) -> dict[str, dict[str, Any]]:
    side, batch = SIZES[size]
    tree: dict[str, dict[str, Any]] = {
        "model": {"path": prepare(root, size)},
        "data": {"folder": str(root / f"pictures-{side}"), "resolution": side, "batch_size": batch},
        "network": {"rank": 16, "alpha": 16.0},
        "optimizer": {"name": "AdamW"},
        "training": {"epochs": 3, "max_train_steps": 3, "seed": 1, "device": "cpu"},
        "output": {"folder": tempfile.mkdtemp(dir=root), "name": "measured", "save_every_n_epochs": 0},
    }
    for section, values in VARIANTS[variant].items():
        tree[section] = tree.get(section, {}) | values
    return tree


def measured(tree: dict[str, Any], root: Path) -> dict[str, Any]:
    """What the run in a process of its own says of itself."""
    own = {"XDG_CACHE_HOME": str(root / "cache"), "TEHON_DATA": str(root / "data")}
    words = [sys.executable, "-c", CHILD, json.dumps(tree)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | own)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def said(tree: dict[str, Any]) -> dict[str, Any]:
    """What the plan says of the same run."""
    memory = estimate(make_plan(validate(tree)))
    assert memory is not None
    return {"estimate": memory.peak.total, "phase": memory.peak.name, "parts": memory.peak.parts}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: measured and estimated peaks, and seconds a step."""
    lines = ["| model | variant | measured | estimate | off by | seconds a step |", "|---|---|---|---|---|---|"]
    for name, row in found.items():
        size, variant = name.split("-")
        off = row["estimate"] / row["peak"] - 1
        peaks = (f"{row[key] / 1e9:.2f} GB" for key in ("peak", "estimate"))
        lines.append(f"| {' | '.join([size, variant, *peaks, f'{off:+.0%}', format(row['seconds'], '.2f')])} |")
    return "\n".join(lines)


def measure(root: Path, names: list[str], estimate_alone: bool) -> None:
    """Each combination is in the results as soon as it is done."""
    for name in names:
        size, variant = name.split("-")
        tree = settings(root, size, variant)
        results = json.loads(RESULT.read_text("utf8")) if RESULT.exists() else {}
        known = results.get("combinations", {})
        row = (known[name] if estimate_alone else measured(tree, root)) | said(tree)
        combinations = known | {name: row}
        ordered = {one: combinations[one] for one in every() if one in combinations}
        RESULT.write_text(json.dumps(circumstances() | {"combinations": ordered}, indent=2) + "\n", "utf8")
        print(name, f"{row['peak'] / 1e6:.0f} MB, estimate {row['estimate'] / row['peak'] - 1:+.1%}", flush=True)
        for how in ("large", "whole"):
            pair = [ordered[f"{size}-{one}"]["losses"] for one in ("off", how) if f"{size}-{one}" in ordered]
            assert len(pair) < 2 or max(abs(a - b) for a, b in zip(*pair, strict=True)) < CLOSE, (size, how)


def every() -> list[str]:
    return [f"{size}-{name}" for size in SIZES for name in (REAL if size == "real" else VARIANTS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where models stay; without it a temporary one")
    parser.add_argument("--only", choices=every(), nargs="+", default=every())
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--write", choices=("middle", "real"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(RESULT.read_text("utf8"))["combinations"]))
    elif options.write:
        write(options.folder, options.write)
    elif options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.folder, options.only, options.estimate)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options.only, options.estimate)


if __name__ == "__main__":
    main()
