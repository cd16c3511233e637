"""`tehon demo [DIR]`: trains a LoRA on the small model in the package and shows what it learned."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tehon.cli.imports import import_networks
from tehon.cli.json_text import json_text
from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEEDS = 32
STRENGTHS = (0.5, 1.0)
SHEET, RESULT = "before-after.png", "result.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("tehon-demo"), metavar="DIR", help=say("cli.demo_folder")
    )
    parser.add_argument("--overwrite", action="store_true", help=say("cli.overwrite"))
    add_progress(parser)


def run(options: argparse.Namespace) -> int:
    from tehon.cli.main import EXIT_STOPPED
    from tehon.demo.mofu import COUNT
    from tehon.planning.plan import make_plan

    watcher = Watcher(options)
    watcher.say(say("cli.demo_start", count=COUNT))
    plan = make_plan(_prepare(options.folder, options.overwrite))

    import_networks(options)
    from tehon.training.run import start_run

    outcome = start_run(plan, watcher)
    watcher.close()
    if outcome.lora is None:
        watcher.say(say("cli.stopped", step=outcome.steps, run=outcome.run.path), "yellow")
        return EXIT_STOPPED
    watcher.say(say("cli.trained", path=outcome.lora, run=outcome.run.path), "green")
    result = _judge(options.folder, outcome.lora, watcher)
    if options.json:
        print(json_text({"event": "demo", **result}), flush=True)
    return 0


def _prepare(folder: Path, overwrite: bool) -> Any:
    """Draws the pictures, writes the settings file, and gives the settings. A Problem when something is there that may
    not be replaced, or pictures that are not the demo's."""
    from tehon.demo.lesson import FOLDERS, prepared
    from tehon.settings.files import to_toml, validate

    config, pictures = folder / "mofu.toml", folder / "pictures"
    try:
        found = [place for place in (config, pictures, folder / SHEET, folder / RESULT) if place.exists()]
        inside = pictures.iterdir() if pictures in found else ()
        others = [place for place in inside if place.name not in FOLDERS and not place.name.startswith(".")]
        if others or (found and not overwrite):
            raise Problem("demo_exists", path=(others or found)[0])
        pictures.mkdir(parents=True, exist_ok=True)  # ahead of the rest, to name DIR where nothing can be made
        tree = prepared(folder)
        tree["output"]["overwrite"] = overwrite
        settings = validate(tree)
        config.write_text(to_toml(settings), "utf8")
    except OSError as error:
        raise Problem("file_unwritable", field="DIR", path=folder, reason=error.strerror or error) from None
    return settings


def _judge(folder: Path, lora: Path, watcher: Watcher) -> dict[str, Any]:
    """Draws the before/after sheet and measures the effect, with the finished file as anyone would load it."""
    from PIL import Image

    from tehon.demo.judge import agreement, concept_score, separation
    from tehon.demo.prompts import SHOWN, concept_prompts, control_prompts
    from tehon.demo.sheet import before_after

    artist = Artist(lora)
    watcher.say(say("cli.demo_drawing"))
    strengths = (0.0, *STRENGTHS)
    drawn = [artist.draw(list(SHOWN), [1, 2, 3, 4], strength) for strength in strengths]
    rows = [[Image.fromarray(column[row]) for column in drawn] for row in range(len(SHOWN))]
    titles = ["base model", *(f"LoRA {strength}" for strength in STRENGTHS)]  # Pillow's own font knows no kana
    before_after(titles, list(SHOWN), rows).save(folder / SHEET)
    watcher.say(say("cli.demo_sheet", path=folder / SHEET))

    watcher.say(say("cli.demo_measuring", seeds=SEEDS))
    seeds = list(range(100, 100 + SEEDS))
    concept, (control, wanted) = concept_prompts(SEEDS), control_prompts(SEEDS)
    base, adapted = (concept_score(artist.draw(concept, seeds, strength)) for strength in (0.0, 1.0))
    effect = separation(base, adapted)
    kept = [agreement(artist.draw(control, seeds, strength), wanted) for strength in (0.0, 1.0)]
    result: dict[str, Any] = {
        "lora": str(lora),
        "seeds": SEEDS,
        "concept": effect,
        "control": {"base": kept[0]._asdict(), "adapted": kept[1]._asdict()},
    }
    (folder / RESULT).write_text(json.dumps(result, indent=2) + "\n", "utf8")
    z = f"{effect['z']:.0f}"
    watcher.say(say("cli.demo_concept", base=f"{base.mean():.2f}", lora=f"{adapted.mean():.2f}", z=z))
    watcher.say(say("cli.demo_control", base=f"{kept[0].both:.0%}", lora=f"{kept[1].both:.0%}"))
    watcher.say(say("cli.demo_result", path=folder / RESULT))
    return result


class Artist:
    """Draws with the base model and the LoRA at any strength."""

    def __init__(self, lora: Path) -> None:
        import torch

        from tehon.catalog.detect import DEMO, find_model
        from tehon.families.family import behaviour_of

        model = find_model(DEMO)
        self.lora = lora
        self.behaviour = behaviour_of(model.family)
        self.parts = self.behaviour.load(model, torch.float32, torch.device("cpu"))

    def draw(self, prompts: list[str], seeds: list[int], strength: float) -> "NDArray[np.uint8]":
        """uint8 (prompts, 128, 128, 3)."""
        from tehon.families.samplers import SampleRequest, sample
        from tehon.training.attach import lora_files

        request = SampleRequest(prompts, seeds, (128, 128), steps=16, guidance=3.0, sampler="dpmsolver++")
        with lora_files(self.behaviour, self.parts, [(self.lora, strength)]):
            return sample(self.behaviour, self.parts, request).numpy()
