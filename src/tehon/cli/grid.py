"""`tehon grid RUN`: each LoRA that a run has saved, at several strengths, from the same prompts."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tehon.cli.imports import import_networks
from tehon.cli.parser import finite
from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.disk import fill_whole, is_there, write_whole
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

if TYPE_CHECKING:
    from PIL import Image

    from tehon.planning.prompts import SamplePrompt
    from tehon.settings.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="RUN", help=say("cli.run_directory"))
    parser.add_argument("--prompt", action="append", default=[], metavar="TEXT", help=say("cli.grid_prompt"))
    parser.add_argument("--strengths", type=finite, nargs="+", default=[0.5, 0.75, 1.0], help=say("cli.grid_strengths"))
    parser.add_argument("--steps", type=int, nargs="+", metavar="STEP", help=say("cli.grid_steps"))
    parser.add_argument("--out", type=Path, metavar="DIR", help=say("cli.grid_out"))
    parser.add_argument("--overwrite", action="store_true", help=say("cli.switch_overwrite"))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=say("cli.device"))
    add_progress(parser)


def run(options: argparse.Namespace) -> int:
    from tehon.reports.grid import Grid, as_page, sheet
    from tehon.runs.judge import best_measurement
    from tehon.runs.known import find_run
    from tehon.runs.read import open_run
    from tehon.settings.files import load_settings

    directory = open_run(find_run(options.directory).path)
    settings = load_settings(directory.settings, {})
    loras = _chosen(directory, options.steps)
    watcher = Watcher(options)
    prompts = _prompts(settings, options.prompt, watcher)
    out: Path = options.out or directory.path / "grid"
    picture, page = out / "grid.png", out / "grid.html"
    for file in (picture, page):
        if is_there(file) and not options.overwrite:
            raise Problem("file_exists", path=file)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem("file_unwritable", field="--out", path=out, reason=error.strerror or error) from None

    import_networks(options)
    from tehon.training.device import choose_device, memory_of

    best = best_measurement(directory)
    names = {step: say("grid.step", step=step, name=file.stem) for step, file in loras.items()}
    with memory_of(choose_device(options.device)):
        blocks = _draw(settings, options, list(loras.values()), prompts, watcher)
    watcher.close()
    grid = Grid(
        checkpoints=list(names.values()),
        strengths=[f"{strength:g}" for strength in options.strengths],
        blocks=blocks,
        best=names.get(best.step, "") if best else "",
        note=say("grid.best", loss=f"{best.loss:.4f}", step=best.step) if best else "",
    )
    fill_whole(picture, lambda aside: sheet(grid).save(aside, "png"))
    write_whole(page, as_page(grid, say("grid.title", name=directory.path.resolve().name)).encode())
    watcher("drawn", {"picture": str(picture), "page": str(page)})
    watcher.say(say("cli.picture", path=picture))
    watcher.say(say("cli.page", path=page))
    return 0


def _chosen(directory: Any, steps: list[int] | None) -> dict[int, Path]:
    """{step: LoRA file}, of the steps asked for or of all."""
    from tehon.runs.judge import checkpoints

    found = checkpoints(directory)
    if not found:
        raise Problem("grid_no_lora", path=directory.weights)
    missing = [step for step in steps or [] if step not in found]
    if missing:
        raise Problem("grid_step_missing", field="--steps", step=missing[0], steps=", ".join(map(str, found)))
    return {step: found[step] for step in steps} if steps else found


def _prompts(settings: "Settings", texts: list[str], watcher: Watcher) -> list["SamplePrompt"]:
    """Those of the command line, else the run's own."""
    from tehon.catalog.detect import find_model
    from tehon.planning.prompts import SampleRules, read_prompts

    side = find_model(**settings.model.model_dump()).native_side
    samples = settings.samples
    rules = SampleRules(samples.sampler, side, settings.training.seed or 0)
    file = Path(samples.prompts_file) if samples.prompts_file and not texts else None
    prompts, remarks = read_prompts("\n".join(texts) or samples.prompts, file, rules)
    for remark in remarks:
        watcher("notice", {"text": remark})
    if not prompts:
        raise Problem("grid_no_prompts", field="--prompt")
    return prompts


def _draw(
    settings: "Settings",
    options: argparse.Namespace,
    loras: list[Path],
    prompts: list["SamplePrompt"],
    watcher: Watcher,
) -> list[Any]:
    """A block for each prompt. A LoRA is read once for each strength, and the base model drawn once for each prompt."""
    import torch
    from PIL import Image

    from tehon.catalog.detect import find_model
    from tehon.families.family import behaviour_of
    from tehon.reports.grid import Block
    from tehon.training.attach import lora_files
    from tehon.training.device import choose_device
    from tehon.training.previews import draw_with

    model = find_model(**settings.model.model_dump())
    if settings.objective.zero_terminal_snr:
        model = model.with_zero_snr()
    behaviour = behaviour_of(model.family)
    parts = behaviour.load(model, torch.float32, choose_device(options.device))

    def draw(prompt: "SamplePrompt") -> "Image.Image":
        return Image.fromarray(draw_with(behaviour, parts, settings.text.clip_skip, prompt).numpy())

    blocks = [Block(prompt.prompt, draw(prompt), [[] for _ in loras]) for prompt in prompts]
    total, done = len(loras) * len(options.strengths) * len(prompts), 0
    for row, lora in enumerate(loras):
        for strength in options.strengths:
            with lora_files(behaviour, parts, [(lora, strength)]):
                for block, prompt in zip(blocks, prompts, strict=True):
                    block.pictures[row].append(draw(prompt))
                    done += 1
                    watcher.count(say("cli.drawing"), done, total)
    return blocks
