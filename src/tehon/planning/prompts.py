"""Sample prompts: lines with flags as kohya writes them, from the settings or from a text, TOML or JSON file.

>>> parse_line("a cat --n dog --d 7 --s 28").fields
{'prompt': 'a cat', 'negative_prompt': 'dog', 'seed': 7, 'sample_steps': 28}
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from tehon.catalog.samplers import SAMPLERS
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, raise_all
from tehon.planning.intervals import Intervals
from tehon.settings.files import read_toml
from tehon.settings.settings import Settings

FIELD = "samples.prompts"
MOST_STEPS = 1000
_FLAGS = {
    "n": "negative_prompt",
    "w": "width",
    "h": "height",
    "d": "seed",
    "l": "scale",
    "s": "sample_steps",
    "ss": "sample_sampler",
}
_FLAG = re.compile(r"(\w+) +(.+)", re.DOTALL)
_STRANGE = ("controlnet_image", "guidance_scale", "cfg_trunc_ratio", "renorm_cfg", "flow_shift")
"""Keys of kohya's files that are for other models or other kinds of training."""


@dataclass(frozen=True)
class SamplePrompt:
    """One picture to draw; `line` counts the prompts from 0."""

    line: int
    prompt: str
    negative_prompt: str
    width: int
    height: int
    seed: int
    scale: float
    sample_steps: int
    sample_sampler: str


@dataclass
class Parsed:
    """The fields of a prompt under kohya's names, and what of its line has no effect."""

    fields: dict[str, Any]
    ignored: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class SampleRules:
    """What holds where a prompt says nothing: the sampler, the side of a picture, and the run's seed, from which each
    prompt's own follows."""

    sampler: str
    side: int
    seed: int


@dataclass(frozen=True)
class PlannedSamples:
    """The sample prompts of a run and when they are drawn. Without prompts nothing is."""

    prompts: tuple[SamplePrompt, ...]
    remarks: tuple[str, ...]
    rules: SampleRules
    intervals: Intervals
    at_first: bool

    def tag(self, step: int) -> str | None:
        """Whether samples are due after an update, and kohya's mark for it in their names: the epoch that it ends, as
        e000002, else the step, as 000100."""
        if step == 0:
            return "e000000" if self.at_first else None
        epoch = self.intervals.by_epoch(step)
        if epoch is not None:
            return f"e{epoch:06d}"
        return f"{step:06d}" if self.intervals.by_step(step) else None

    @property
    def times(self) -> int:
        """How often they are drawn."""
        return self.at_first + self.intervals.count

    def drawn_at(self) -> Iterator[int]:
        """The steps after which they are drawn, in order; there may be too many for a list."""
        return chain([0] if self.at_first else [], self.intervals.updates())


def plan_samples(
    settings: Settings, side: int, steps: int, steps_per_epoch: int, problems: list[Problem]
) -> PlannedSamples:
    """The samples of resolved settings; what is wrong with the prompts is added to `problems`."""
    samples = settings.samples
    rules = SampleRules(samples.sampler, side, settings.training.seed or 0)
    prompts: list[SamplePrompt] = []
    remarks: list[str] = []
    try:
        file = Path(samples.prompts_file) if samples.prompts_file else None
        prompts, remarks = read_prompts(samples.prompts, file, rules)
        if file is not None and not prompts:
            problems.append(Problem("prompts_unreadable", path=file, reason=say("samples.empty")))
    except Problem as problem:
        problems += problem.all
    return PlannedSamples(
        prompts=tuple(prompts),
        remarks=tuple(remarks),
        rules=rules,
        intervals=Intervals(samples.every_n_steps, samples.every_n_epochs, steps, steps_per_epoch),
        at_first=samples.at_first,
    )


def parse_line(line: str) -> Parsed:
    """A prompt with its flags. A flag begins behind a blank or at the start of the line, in either case; kohya reads
    the prompt itself for flags too, which is not done here. ValueError names a value that does not fit its flag."""
    prompt, *parts = re.split(r"(?:^| )--", line)
    parsed = Parsed({"prompt": prompt.strip()})
    for part in parts:
        found = _FLAG.fullmatch(part.strip())
        name = _FLAGS.get(found[1].lower()) if found else None
        if found is None or name is None:
            parsed.ignored.append(f"--{part}".rstrip())
        else:
            value = _value(name, found[2].strip())
            if name == "sample_steps" and value > MOST_STEPS:
                parsed.ignored.append(say("samples.steps_cut", steps=value, most=MOST_STEPS))
                value = MOST_STEPS
            parsed.fields[name] = value
    return parsed


def _value(name: str, text: str) -> Any:
    """The value of a field, from text."""
    kind = r"\d+" if name in ("width", "height", "seed", "sample_steps") else r"\d+(\.\d*)?|\.\d+"
    if name in ("negative_prompt", "sample_sampler"):
        return text
    if not re.fullmatch(kind, text):
        raise ValueError(f"{name} {text}")
    return float(text) if name == "scale" else int(text)


def read_prompts(text: str, file: Path | None, rules: SampleRules) -> tuple[list[SamplePrompt], list[str]]:
    """(prompts, sentences about what has no effect), from the settings' text or from a file; Problems for all that
    does not fit."""
    place = FIELD if file is None else str(file)
    problems: list[Problem] = []
    remarks: list[str] = []
    found: list[SamplePrompt] = []
    for entry in prompt_lines(text) if file is None else _entries(file):
        number = len(found) + len(problems) + 1
        try:
            parsed = parse_line(entry) if isinstance(entry, str) else _parsed(entry)
            found.append(_complete(parsed.fields, number - 1, rules))
            remarks += [say("notice.prompt_part", place=place, number=number, part=part) for part in parsed.ignored]
        except ValueError as error:
            problems.append(Problem("prompt_wrong", field=place, number=number, reason=error))
    raise_all(problems)
    return found, remarks


def prompt_lines(text: str) -> list[Any]:
    """The prompts of a text, a line each; blank lines and comments are none."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _entries(file: Path) -> list[Any]:
    """Lines, or tables under kohya's names, from a file by its extension."""
    kind = file.suffix.lower()
    if kind == ".toml":
        return _of_toml(file)
    if kind not in (".txt", ".json"):
        raise Problem("prompts_kind", field="samples.prompts_file", path=file)
    try:
        text = file.read_text("utf-8-sig")
        if kind == ".txt":
            return prompt_lines(text)
        entries = json.loads(text)
    except FileNotFoundError:
        raise Problem("file_missing", path=file) from None
    except (OSError, ValueError) as error:
        raise Problem("prompts_unreadable", path=file, reason=error) from None
    if not isinstance(entries, list) or not all(isinstance(entry, str | dict) for entry in entries):
        raise Problem("prompts_unreadable", path=file, reason=say("samples.no_list"))
    return entries


def _of_toml(file: Path) -> list[Any]:
    """`[prompt]` holds what all `[[prompt.subset]]` have in common; none may say it again."""
    common = read_toml(file).get("prompt")
    subsets = common.pop("subset", None) if isinstance(common, dict) else None
    if not isinstance(common, dict) or not isinstance(subsets, list) or not all(isinstance(s, dict) for s in subsets):
        raise Problem("prompts_unreadable", path=file, reason=say("samples.no_subsets"))
    for number, subset in enumerate(subsets, 1):
        twice = sorted(common.keys() & subset.keys())
        if twice:
            reason = say("samples.twice", name=twice[0])
            raise Problem("prompt_wrong", field=str(file), number=number, reason=reason)
    return [common | subset for subset in subsets]


def _parsed(table: Mapping[str, Any]) -> Parsed:
    """A table under kohya's names; its prompt is text alone, without flags."""
    parsed = Parsed({"prompt": ""})
    for key, value in table.items():
        number = int if key in ("width", "height", "seed", "sample_steps") else (int, float) if key == "scale" else str
        if key in _STRANGE:
            parsed.ignored.append(key)
        elif key != "prompt" and key not in _FLAGS.values():
            raise ValueError(say("samples.unknown_key", name=key))
        elif not isinstance(value, number) or isinstance(value, bool):
            raise ValueError(f"{key} {value!r}")
        else:
            parsed.fields[key] = value
    return parsed


def _complete(fields: Mapping[str, Any], line: int, rules: SampleRules) -> SamplePrompt:
    """Nothing left open; ValueError says what is out of bounds."""
    seed = int.from_bytes(blake2b(f"{rules.seed} sample {line}".encode(), digest_size=4).digest(), "big")
    prompt = SamplePrompt(
        line=line,
        prompt=fields["prompt"],
        negative_prompt=fields.get("negative_prompt", ""),
        width=_side(fields.get("width", rules.side)),
        height=_side(fields.get("height", rules.side)),
        seed=fields.get("seed", seed),
        scale=float(fields.get("scale", 7.5)),
        sample_steps=fields.get("sample_steps", 30),
        sample_sampler=fields.get("sample_sampler", rules.sampler),
    )
    if prompt.sample_sampler not in SAMPLERS:
        raise ValueError(say("samples.no_sampler", name=prompt.sample_sampler, names=", ".join(SAMPLERS)))
    for name, high in (("width", 8192), ("height", 8192), ("seed", 2**63 - 1), ("sample_steps", MOST_STEPS)):
        value = getattr(prompt, name)
        if not (0 if name == "seed" else 1) <= value <= high:
            raise ValueError(f"{name} {value}")
    return prompt


def _side(pixels: int) -> int:
    """Lowered to a multiple of 8, at least 64, as kohya does."""
    return max(64, pixels // 8 * 8)
