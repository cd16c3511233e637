"""`tehon sample MODEL PROMPT…`: pictures from a model, with or without LoRAs."""

import argparse
import re
import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from tehon.cli.imports import import_networks
from tehon.cli.lasting import lasting
from tehon.cli.parser import finite
from tehon.disk import fill_whole
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

if TYPE_CHECKING:
    from tehon.catalog.model import Model

AT_ONCE = 4  # pictures drawn together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from tehon.catalog.samplers import SAMPLERS

    parser.add_argument("model", metavar="MODEL", help=say("cli.model"))
    parser.add_argument("prompts", nargs="+", metavar="PROMPT", help=say("cli.prompt"))
    parser.add_argument("--revision", default="", help=say("cli.revision"))
    parser.add_argument("--vae", default="", help=say("cli.vae"))
    parser.add_argument("--tokenizer", default="", help=say("cli.tokenizer"))
    parser.add_argument("--prediction", choices=("epsilon", "v"), help=say("cli.prediction"))
    parser.add_argument("--out", type=Path, default=Path("samples"), help=say("cli.out"))
    parser.add_argument("--lora", action="append", default=[], metavar="FILE[:STRENGTH]", help=say("cli.lora"))
    parser.add_argument("--negative", default="", help=say("cli.negative"))
    parser.add_argument("--seed", type=int, default=0, help=say("cli.seed"))
    parser.add_argument("--count", type=int, default=1, help=say("cli.count"))
    parser.add_argument("--width", type=int, help=say("cli.width"))
    parser.add_argument("--height", type=int, help=say("cli.height"))
    parser.add_argument("--steps", type=int, default=30, help=say("cli.steps"))
    parser.add_argument("--cfg", type=finite, default=7.5, help=say("cli.cfg"))
    parser.add_argument("--sampler", choices=list(SAMPLERS), default="euler_a", help=say("cli.sampler"))
    parser.add_argument("--clip-skip", type=int, default=1, help=say("cli.clip_skip"))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=say("cli.device"))


def run(options: argparse.Namespace) -> int:
    from tehon.catalog.header import read_header

    model = _model(options)
    own = model.native_side
    size = _side("--width", options.width, own), _side("--height", options.height, own)
    files = [_lora(word) for word in options.lora]
    model = _as_trained(model, {file: read_header(file).metadata for file, _ in files})
    _check_number("--steps", options.steps, 1, 1000)
    _check_number("--clip-skip", options.clip_skip, 1, 12)
    _check_number("--count", options.count, 1, 10000)
    _check_number("--seed", options.seed, 0, 2**63 - options.count)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        free = _free_number(options.out)
    except OSError as error:
        raise Problem("file_unwritable", field="--out", path=options.out, reason=error.strerror or error) from None

    import_networks(options)
    import torch
    from PIL import Image

    from tehon.families.family import behaviour_of
    from tehon.families.samplers import SampleRequest, sample
    from tehon.training.attach import lora_files
    from tehon.training.device import choose_device, memory_of

    behaviour = behaviour_of(model.family)
    device = choose_device(options.device)
    with memory_of(device):
        parts = behaviour.load(model, torch.float32, device)
    seeds = list(range(options.seed, options.seed + options.count))
    with memory_of(device), lora_files(behaviour, parts, files):
        wanted = [(number, prompt, seed) for number, prompt in enumerate(options.prompts, free) for seed in seeds]
        for start in range(0, len(wanted), AT_ONCE):
            numbers, prompts, own_seeds = zip(*wanted[start : start + AT_ONCE], strict=True)
            request = SampleRequest(
                list(prompts),
                list(own_seeds),
                size,
                negative=options.negative,
                steps=options.steps,
                guidance=options.cfg,
                sampler=options.sampler,
                clip_skip=options.clip_skip,
            )
            for number, seed, drawn in zip(numbers, own_seeds, sample(behaviour, parts, request), strict=True):
                file, picture = options.out / f"{number:02d}_{seed}.png", Image.fromarray(drawn.numpy())
                fill_whole(file, lambda aside: picture.save(aside, "png"))  # noqa: B023  called at once
                print(file, file=lasting(sys.stdout))
    return 0


def _as_trained(model: "Model", metadata: dict[Path, Mapping[str, str]]) -> "Model":
    """The model with the noise that its LoRAs, given by their metadata, were trained with; a change is said."""
    if model.zero_snr or model.prediction != "v":
        return model
    for file, facts in metadata.items():
        if facts.get("ss_zero_terminal_snr") == "True":
            print(say("cli.notice", text=say("notice.zero_snr_of_lora", path=file)), file=sys.stderr)
            return model.with_zero_snr()
    return model


def _model(options: argparse.Namespace) -> "Model":
    """The model with what is given beside it; a Problem names the option."""
    from tehon.catalog.detect import find_model

    beside = ("revision", "vae", "tokenizer", "prediction")
    try:
        model = find_model(options.model, **{name: getattr(options, name) for name in beside})
    except Problem as problem:
        section, _, name = str(problem.values.get("field", "")).partition(".")
        field = {"field": f"--{name}"} if section == "model" and name in beside else {}
        raise Problem(problem.key, **problem.values | field) from None
    if model.told_by == "weights":
        text = say("notice.prediction_by_weights", path=model.path, prediction=model.prediction)
        print(say("cli.notice", text=text), file=sys.stderr)
    return model


def _lora(word: str) -> tuple[Path, float]:
    """FILE or FILE:STRENGTH; a colon in the path itself, as on Windows, stays there."""
    path, colon, strength = word.rpartition(":")
    if colon and not Path(word).exists():
        try:
            number = float(strength)
        except ValueError:
            return Path(word), 1.0
        if not isfinite(number):
            raise Problem("strength_not_finite", field="--lora", path=path)
        return Path(path), number
    return Path(word), 1.0


def _free_number(folder: Path) -> int:
    """One more than the largest that a picture there begins with."""
    numbers = (re.fullmatch(r"(\d+)_\d+\.png", file.name) for file in folder.iterdir())
    return max((int(match[1]) + 1 for match in numbers if match), default=0)


def _side(option: str, given: int | None, own: int) -> int:
    pixels = own if given is None else given
    if pixels < 64 or pixels % 8:
        raise Problem("side_not_eight", field=option, value=pixels)
    return pixels


def _check_number(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Problem("number_outside", field=option, value=value, low=low, high=high)
