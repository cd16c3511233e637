"""Trains each kind of network on the demo's character and measures what it learned; one JSON a run.

`python benchmarks/networks_demo.py lora locon` trains those two; `ranks` cuts what `lora` and `dylora` trained, and
`seeds` trains and cuts those two with other seeds; without a name, all. `--table` prints the tables of
docs/networks.md from the results. Every kind gets the demo's recipe with the same steps, pictures and seeds; only what
stands in KINDS differs. Scores are the demo's own: how much of the character is in pictures of prompts with its name.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

import tehon
from tehon.catalog.header import read_header
from tehon.cli.demo import Artist
from tehon.demo.judge import agreement, concept_score, separation
from tehon.demo.lesson import SETTINGS
from tehon.demo.mofu import write_data_set
from tehon.demo.prompts import concept_prompts, control_prompts
from tehon.demo.scenes import write_known_scenes
from tehon.diffusion.noising import add_noise
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.surgery.cut import cut_ranks
from tehon.training.attach import lora_files
from tehon.training.run import start_run
from tehon.weights.lora_file import read_lora, write_lora

RESULTS = Path(__file__).parent / "results" / "networks"
STEPS = 200
SEEDS = 24
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"network": {"rank": 16, "alpha": 16.0}},
    "locon": {"network": {"kind": "locon", "rank": 8, "alpha": 8.0}},
    "dylora": {"network": {"kind": "dylora", "rank": 16, "alpha": 16.0}},
    "loha": {"network": {"kind": "loha", "rank": 8, "alpha": 8.0}},
    "lokr": {"network": {"kind": "lokr", "rank": 4, "alpha": 4.0, "factor": 4}},
    "dora": {"network": {"rank": 16, "alpha": 16.0, "dora": True}},
    "lora_fa": {"network": {"kind": "lora_fa", "rank": 16, "alpha": 16.0}},
    "ia3": {"network": {"kind": "ia3"}, "optimizer": {"learning_rate": 2e-2, "text_encoder_lr": 2e-2}},
}
CUTS = range(1, 17)
SCORED = (1, 4, 16)
OTHER_SEEDS = (1, 2, 3, 4, 5)
CUTS_OF_SEEDS = (1, 2, 3, 4, 6, 8, 12, 16)


def circumstances() -> dict[str, Any]:
    """On what and with what the figures were made."""
    return {
        "tehon": tehon.__version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
    }


def train(name: str, folder: Path, steps: int, seed: int | None = None) -> tuple[Path, dict[str, Any]]:
    """The trained file and how it came about; with the demo's own seed, or another."""
    tree: dict[str, Any] = {section: dict(values) for section, values in SETTINGS.items()}
    for section, values in KINDS[name].items():
        tree[section] = values if section == "network" else tree[section] | values
    tree["data"]["folder"] = str(folder / "pictures")
    tree["training"]["max_train_steps"] = steps
    if seed is not None:
        tree["training"]["seed"] = seed
    named = name if seed is None else f"{name}-{seed}"
    tree["output"] = {"folder": str(folder), "name": named, "overwrite": True}
    plan = make_plan(validate(tree))
    events: dict[str, dict[str, Any]] = {}
    start = time.perf_counter()
    outcome = start_run(plan, lambda event, facts: events.update({event: facts}))
    seconds = time.perf_counter() - start
    assert outcome.lora is not None
    return outcome.lora, {
        "settings": {"network": KINDS[name]["network"], "optimizer": tree["optimizer"], "steps": steps},
        "modules": len(plan.modules),
        "parameters": sum(module.parameters for module in plan.modules),
        "bytes": outcome.lora.stat().st_size,
        "training_seconds": round(seconds, 1),
        "readers": events["checked"]["readers"],
    }


def scored(artist: Artist, base: Any, seeds: int) -> dict[str, Any]:
    """The concept's score with a file against the base model's, over the same prompts and seeds."""
    numbers = list(range(100, 100 + seeds))
    adapted = concept_score(artist.draw(concept_prompts(seeds), numbers, 1.0))
    return {"seeds": seeds, **separation(base, adapted)}


def kept(artist: Artist, seeds: int) -> dict[str, float]:
    """The share of the base model's own prompts that are still drawn right."""
    prompts, wanted = control_prompts(seeds)
    return agreement(artist.draw(prompts, list(range(100, 100 + seeds)), 1.0), wanted)._asdict()


def opened_in_diffusers(file: Path) -> int | str:
    """How many layers diffusers changes with the file, or what it says against it."""
    from tehon.catalog.detect import demo_folder

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(demo_folder(), local_files_only=True)
    try:
        pipe.load_lora_weights(str(file))
    except (ValueError, KeyError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"
    return sum("lora_A" in name for part in (pipe.unet, pipe.text_encoder) for name, _ in part.named_parameters())


def truncated(file: Path, rank: int, out: Path) -> Path:
    """The LoRA with each layer's change brought down to a rank by its singular values: the nearest of that rank."""
    tensors: dict[str, torch.Tensor] = {}
    for name, row in read_lora(file).items():
        down, up = row["lora_down.weight"].float(), row["lora_up.weight"].float()
        scale = float(row["alpha"]) / len(down)
        u, s, v = torch.linalg.svd(up.flatten(1) @ down.flatten(1) * scale, full_matrices=False)
        k = min(rank, len(down))
        tensors[f"{name}.lora_up.weight"] = (u[:, :k] * s[:k]).view(*up.shape[:1], k, *up.shape[2:])
        tensors[f"{name}.lora_down.weight"] = v[:k].view(k, *down.shape[1:])
        tensors[f"{name}.alpha"] = torch.tensor(float(k))
    write_lora(out, tensors, {}, "float")
    return out


def cut(file: Path, rank: int, out: Path) -> Path:
    rows = cut_ranks(read_lora(file), rank)
    write_lora(out, {f"{name}.{key}": t for name, row in rows.items() for key, t in row.items()}, {}, "float")
    return out


class Examiner:
    """The error in the noise of the character's pictures, with the same noise and times for every file."""

    def __init__(self, folder: Path, artist: Artist) -> None:
        self.artist = artist
        files = sorted(next((folder / "pictures").glob("*mofu*")).glob("*.png"))[:16]
        pixels = torch.stack([torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()) for file in files])
        pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        self.captions = [file.with_suffix(".txt").read_text("utf8").strip() for file in files]
        self.clean, _ = artist.behaviour.encode_image(artist.parts, pixels)
        self.noise = torch.randn(self.clean.shape, generator=torch.Generator().manual_seed(5))

    @torch.no_grad()
    def loss(self, file: Path | None) -> float:
        behaviour, parts = self.artist.behaviour, self.artist.parts
        total = 0.0
        with lora_files(behaviour, parts, [(file, 1.0)] if file else []):
            text = behaviour.encode_text(parts, self.captions)
            for time_step in (150, 350, 550, 750, 950):
                times = torch.full((len(self.clean),), time_step)
                noisy = add_noise(self.clean, self.noise, parts.alphas, times)
                total += float((behaviour.predict(parts, noisy, times, text) - self.noise).square().mean())
        return total / 5


def ranks(folder: Path, base: Any, seeds: int) -> dict[str, Any]:
    """DyLoRA cut at every rank, beside a LoRA of the full rank brought down to it."""
    examiner = Examiner(folder, Artist(folder / "lora.safetensors"))
    found: list[dict[str, Any]] = []
    for rank in CUTS:
        row: dict[str, Any] = {"rank": rank}
        for name, file in (
            ("dylora", cut(folder / "dylora.safetensors", rank, folder / "cut.safetensors")),
            ("lora_svd", truncated(folder / "lora.safetensors", rank, folder / "svd.safetensors")),
        ):
            row[name] = {"loss": examiner.loss(file)}
            if rank in SCORED:
                row[name]["concept"] = scored(Artist(file), base, seeds)
        found.append(row)
        print(json.dumps(row), flush=True)
    return {"base_loss": examiner.loss(None), "ranks": found}


def ranks_of_seeds(folder: Path, steps: int) -> dict[str, Any]:
    """The errors of both with other seeds of training, by rank."""
    found: list[dict[str, Any]] = []
    for seed in OTHER_SEEDS:
        lora, dylora = (train(name, folder, steps, seed)[0] for name in ("lora", "dylora"))
        examiner = Examiner(folder, Artist(lora))
        by_rank = {
            rank: {
                "dylora": examiner.loss(cut(dylora, rank, folder / "cut.safetensors")),
                "lora_svd": examiner.loss(truncated(lora, rank, folder / "svd.safetensors")),
            }
            for rank in CUTS_OF_SEEDS
        }
        found.append({"seed": seed, "losses": by_rank})
        print(json.dumps(found[-1]), flush=True)
    return {"seeds": found}


def write(results: Path, name: str, figures: dict[str, Any]) -> None:
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(figures | circumstances(), indent=2) + "\n", "utf8")


def table() -> str:
    """Markdown from the results."""
    lines = [
        "| kind | settings | layers | parameters | file | score | kept | in diffusers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in KINDS:
        file = RESULTS / f"{name}.json"
        if not file.exists():
            continue
        row = json.loads(file.read_text("utf8"))
        network = ", ".join(f"{k} {v}" for k, v in row["settings"]["network"].items() if k != "kind")
        score = f"{row['concept']['adapted_mean']:.2f} ({row['concept']['z']:.0f} standard errors)"
        layers = row["layers_in_diffusers"]
        there = f"{layers} layers" if isinstance(layers, int) else "not known there"
        there += ", without the lengths" if name == "dora" else ""
        size = f"{row['bytes'] / 1000:.0f} kB"
        cells = [
            name,
            network,
            row["modules"],
            f"{row['parameters']:,}",
            size,
            score,
            f"{row['control']['both']:.0%}",
            there,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def table_of_ranks() -> str:
    """Markdown from the results of `ranks`."""
    found = json.loads((RESULTS / "ranks.json").read_text("utf8"))["ranks"]
    lines = [
        "| rank | error, DyLoRA cut | error, LoRA truncated | score, DyLoRA cut | score, LoRA truncated |",
        "|---" * 5 + "|",
    ]
    for row in found:
        sides = row["dylora"], row["lora_svd"]
        errors = [f"{side['loss']:.4f}" for side in sides]
        scores = [f"{side['concept']['adapted_mean']:.3f}" if "concept" in side else "" for side in sides]
        lines.append(f"| {' | '.join([str(row['rank']), *errors, *scores])} |")
    return "\n".join(lines)


def table_of_seeds() -> str:
    """Markdown: by how many thousandths of the truncated LoRA's error a DyLoRA's cut is below it; the demo's own seed
    first."""
    own = [
        row for row in json.loads((RESULTS / "ranks.json").read_text("utf8"))["ranks"] if row["rank"] in CUTS_OF_SEEDS
    ]
    others = json.loads((RESULTS / "seeds.json").read_text("utf8"))["seeds"]
    lines = [f"| rank | {' | '.join(['own seed', *(str(row['seed']) for row in others)])} |"]
    lines.append("|---" * (len(others) + 2) + "|")
    for row in own:
        rank = row["rank"]
        pairs = [(row["dylora"]["loss"], row["lora_svd"]["loss"])]
        pairs += [(one["losses"][str(rank)]["dylora"], one["losses"][str(rank)]["lora_svd"]) for one in others]
        below = [f"{1000 * (1 - dylora / lora):.2f}" for dylora, lora in pairs]
        lines.append(f"| {' | '.join([str(rank), *below])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=[*KINDS, "ranks", "seeds"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "networks-demo")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(), table_of_ranks(), table_of_seeds(), sep="\n\n")
        return
    folder: Path = options.folder
    if not (folder / "pictures").exists():
        write_data_set(folder / "pictures")
        write_known_scenes(folder / "pictures")
    base = None
    for name in options.kinds:
        if name == "seeds":
            write(options.results, name, ranks_of_seeds(folder, options.steps))
            continue
        if name != "ranks":
            file, figures = train(name, folder, options.steps)
        else:
            file, figures = folder / "lora.safetensors", {}
        if base is None:
            numbers = list(range(100, 100 + options.seeds))
            base = concept_score(Artist(file).draw(concept_prompts(options.seeds), numbers, 0.0))
        if name == "ranks":
            write(options.results, name, ranks(folder, base, options.seeds))
            continue
        artist = Artist(file)
        figures["concept"] = scored(artist, base, options.seeds)
        figures["control"] = kept(artist, options.seeds)
        figures["layers_in_diffusers"] = opened_in_diffusers(file)
        figures["tensors"] = len(read_header(file).shapes)
        write(options.results, name, figures)
        print(
            name,
            json.dumps(figures["concept"]),
            json.dumps(figures["control"]),
            figures["training_seconds"],
            flush=True,
        )


if __name__ == "__main__":
    main()
