"""A plan as data for machines and as text for people."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from heapq import merge
from itertools import compress, groupby, islice
from math import sqrt
from operator import not_
from typing import Any

from tehon.data.plan.captions import CLASS_WORDS
from tehon.data.plan.epochs import Group
from tehon.disk import sized
from tehon.messages.catalogue import say
from tehon.planning.module_table import module_row, network_line
from tehon.planning.notices import notices_for, shown_source
from tehon.planning.peak import estimate, gigabytes
from tehon.planning.plan import Plan
from tehon.planning.planned import PlannedPicture
from tehon.planning.saves import bytes_needed, count_loras, final_name, planned_loras
from tehon.settings.fields import fields

_CURVE_WIDTH = 60
_BAR_WIDTH = 30
_ROWS = 20
_MOST = 1000  # steps that are listed of a run
_SHOWN = 5_000_000  # bytes of memory that have a word of their own
_LEVELS = " ▁▂▃▄▅▆▇█"


def as_data(plan: Plan) -> dict[str, Any]:
    """All of the plan; what `tehon plan --json` prints. Of the steps of a long run there are so many that it gives a
    number of them: the rate of each part at `rates_at`, and the first of what is done now and then, beside its
    count."""
    samples, steps = plan.samples, _some_of(plan.steps)
    return {
        "problems": [str(problem) for problem in plan.troubles.problems],
        "family": plan.family.name,
        "model": str(plan.model.path),
        "prediction": plan.model.prediction,
        "images": [_row(picture) for picture in plan.pictures],
        "validation": [_row(picture) for picture in plan.validation],
        "buckets": [
            {
                "width": group.bucket[0],
                "height": group.bucket[1],
                "batch_size": group.batch_size,
                "images": len(group.pictures),
                "count": group.reads(plan.repeats),
            }
            for group in plan.groups
        ],
        "steps": _steps(plan),
        "first_epoch": _first_epoch(plan),
        "optimizer": {"name": plan.optimizer.name, "arguments": plan.optimizer.arguments},
        "rates": {root: [plan.rate(root, step - 1) for step in steps] for root in plan.group_rates},
        "rates_at": steps,
        "scale": _scale(plan),
        "modules": [module_row(plan, module) for module in plan.modules],
        "samples": {
            "steps": list(islice(samples.drawn_at(), _MOST)),
            "count": samples.times,
            "prompts": [asdict(prompt) for prompt in samples.prompts],
        },
        **_measurements(plan),
        "stop_after": plan.settings.validation.stop_after,
        "logs": plan.settings.logs.wanted,
        "seed": plan.seed,
        "saves": {
            "loras": [{"step": file.step, "name": file.name} for file in islice(planned_loras(plan), _MOST)],
            "count": count_loras(plan),
            "bytes": bytes_needed(plan),
        },
        "memory": _memory(plan),
        "skipped": [str(problem) for problem in plan.troubles.skipped],
        "troubles": {kind: names for kind, names in plan.troubles.odd.items() if names},
        "warnings": list(notices_for(plan)),
    }


def _steps(plan: Plan) -> dict[str, Any]:
    """How the number of steps comes about."""
    return {
        "images": len(plan.pictures),
        "reg_reads": plan.reg_reads,
        "reads_per_epoch": plan.reads_per_epoch,
        "batch_size": plan.settings.data.batch_size,
        "processes": plan.processes,
        "batches_per_epoch": plan.batches_per_epoch,
        "gradient_accumulation_steps": plan.settings.training.gradient_accumulation_steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "epochs": plan.epochs,
        "warmup": plan.schedule.warmup,
        "text_encoder": plan.text_steps if plan.text_trained else 0,
        "total": plan.steps,
    }


def _scale(plan: Plan) -> float:
    """What a low-rank change is multiplied with."""
    rank, alpha = plan.rank_and_alpha
    return alpha / (sqrt(rank) if plan.settings.network.rs_lora else rank)


def _row(picture: PlannedPicture) -> dict[str, Any]:
    return {
        "path": str(picture.path),
        "set": picture.set.place,
        "is_reg": picture.is_reg,
        "size": list(picture.size),
        "bucket": list(picture.placement.bucket),
        "resized": list(picture.placement.resized),
        "crop": list(picture.placement.crop),
        "repeats": picture.repeats,
        "caption": picture.caption.text,
        "caption_source": picture.caption.source,
        "mask": str(picture.mask) if picture.mask else None,
        "alpha_mask": picture.set.alpha_mask,
        "interpolation": picture.set.interpolation,
        "background": picture.set.background,
        "digest": picture.digest.hex(),
    }


def _some_of(steps: int) -> list[int]:
    """All steps, counted from 1, or as many as are listed, from the first to the last at equal distances."""
    count = min(steps, _MOST)
    return [1 + number * (steps - 1) // max(1, count - 1) for number in range(count)]


def _measurements(plan: Plan) -> dict[str, Any]:
    """After which updates the loss on held-out pictures is measured, and how often."""
    intervals = plan.measurements
    if intervals is None:
        return {"measured_at": [], "measured": 0}
    steps = (step for step, _ in groupby(merge(intervals.updates(), [plan.steps])))
    count = intervals.count + (not intervals.due(plan.steps))
    return {"measured_at": list(islice(steps, _MOST)), "measured": count}


def _first_epoch(plan: Plan) -> list[list[dict[str, Any]]]:
    """The first epoch's batches, each reading with its look and its final caption."""
    batches: list[list[dict[str, Any]]] = []
    for batch in plan.epoch(0):
        rows: list[dict[str, Any]] = []
        for read in batch.reads:
            look = plan.look(0, read)
            rows.append(
                {
                    "image": read.picture,
                    "repeat": read.repeat,
                    "crop": list(look.crop),
                    "flip": look.flip,
                    "hue": look.shift.hue if look.shift else 0.0,
                    "gamma": look.shift.gamma if look.shift else 1.0,
                    "caption": plan.caption(0, read),
                }
            )
        batches.append(rows)
    return batches


def as_text(plan: Plan) -> str:
    """The plan in words, in the language to speak."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    settings = plan.settings
    yield say("plan.model", model=settings.model.path, family=plan.family.name)
    yield from _counts(plan)
    yield from _chart(plan)
    yield from _table(plan)
    yield arithmetic(plan)
    if plan.processes > 1:
        yield say("plan.processes", count=plan.processes, each=plan.settings.data.batch_size)
    yield network_line(plan)
    arguments = ", ".join(f"{name}={value}" for name, value in plan.optimizer.arguments.items())
    yield say("plan.optimizer", name=plan.optimizer.name, arguments=f"({arguments})" if arguments else "")
    for root, rate in plan.base_rates.items():
        part, shown = plan.family.adapter_roots[root], f"{rate:g}"
        if plan.is_text(root) and plan.text_steps < plan.steps:
            yield say("plan.rate_until", part=part, rate=shown, step=plan.text_steps)
        else:
            yield say("plan.rate", part=part, rate=shown)
    yield say("plan.schedule", name=plan.schedule.name, warmup=plan.schedule.warmup, curve=_curve(plan))
    if plan.samples.prompts:
        yield say("plan.samples", count=len(plan.samples.prompts), times=plan.samples.times)
    name, room = final_name(settings.output.name), sized(bytes_needed(plan))
    yield say("plan.saves", count=count_loras(plan), name=name, room=room)
    yield from _memory_lines(plan)
    changed = list(_changed(plan))
    if changed:
        yield say("plan.changed", settings=", ".join(changed))
    for notice in notices_for(plan):
        yield say("cli.notice", text=notice)


def _memory(plan: Plan) -> dict[str, Any] | None:
    """Bytes on a processor, of each phase and of the largest of them; None when they can't be told."""
    found = estimate(plan)
    if found is None:
        return None
    phases = {phase.name: phase.parts for phase in found.phases}
    return {"peak": found.peak.total, "phase": found.peak.name, "phases": phases}


def _memory_lines(plan: Plan) -> Iterator[str]:
    found = estimate(plan)
    if found is not None:
        shown = ((name, size) for name, size in found.peak.parts.items() if size >= _SHOWN)
        parts = (say("memory.part", name=say(f"memory.{name}"), size=gigabytes(size)) for name, size in shown)
        phase = say(f"memory.phase_{found.peak.name}")
        yield say("plan.memory", size=gigabytes(found.peak.total), phase=phase, parts=", ".join(parts))


def _counts(plan: Plan) -> Iterator[str]:
    pictures = plan.pictures
    learned = list(map(not_, pictures.is_reg))
    count, reads = sum(learned), sum(compress(pictures.repeats, learned))
    uncaptioned = Counter(compress(pictures.text_sources, learned))[CLASS_WORDS]
    yield say("plan.pictures", count=count, captioned=count - uncaptioned, reads=reads)
    if len(plan.sets) > 1:
        counts = Counter(one.place for one in pictures.sets)
        yield say("plan.sets", sets=", ".join(f"{place} {count}" for place, count in counts.items()))
    if plan.reg_reads:
        used, total = len(pictures) - count, plan.reads_per_epoch - reads
        yield say("plan.reg", count=used, own=plan.reg_reads, reads=total)
    if plan.validation:
        yield say("plan.validation", count=len(plan.validation))


def _chart(plan: Plan) -> Iterator[str]:
    """One bar for each bucket; its length are its readings."""
    most = max(group.reads(plan.repeats) for group in plan.groups)
    for group in plan.groups:
        reads = group.reads(plan.repeats)
        bar = "█" * max(1, round(reads / most * _BAR_WIDTH))
        size = "{} x {}".format(*group.bucket)
        yield say("plan.bucket", size=f"{size:<11}", bar=f"{bar:<30}", count=len(group.pictures), reads=reads)


def _table(plan: Plan) -> Iterator[str]:
    yield say("plan.table")
    for picture in plan.pictures[:_ROWS]:
        source = shown_source(picture.caption.source)
        place = picture.placement
        row = (
            f"{picture.repeats} ×",
            "{}x{}".format(*picture.size),
            "→ {}x{}".format(*place.resized),
            "→ {}x{}".format(*place.bucket),
            f"{picture.folder.path.name}/{picture.name}",
            f"[{source}] {picture.caption.text.splitlines()[0] if picture.caption.text else ''}",
        )
        yield f"  {row[0]:>5} {row[1]:>11} {row[2]:<11} {row[3]:<11} {row[4]}  {row[5]}"
    if len(plan.pictures) > _ROWS:
        yield say("plan.more", count=len(plan.pictures) - _ROWS)


def arithmetic(plan: Plan) -> str:
    """How the number of steps comes about, in words."""
    sizes: dict[int, list[Group]] = {}
    for group in plan.groups:
        sizes.setdefault(group.batch_size, []).append(group)
    reads = " + ".join(
        say("plan.reads", reads=sum(group.reads(plan.repeats) for group in groups), size=size)
        for size, groups in sizes.items()
    )
    facts = {
        "reads": reads,
        "buckets": len(plan.groups),
        "batches": plan.batches_per_epoch,
        "group": plan.settings.training.gradient_accumulation_steps,
        "per_epoch": plan.steps_per_epoch,
        "epochs": plan.epochs,
        "total": plan.steps,
    }
    if plan.steps < plan.epochs * plan.steps_per_epoch:
        return say("plan.steps_limited", **facts)
    return say("plan.steps", **facts)


def _curve(plan: Plan) -> str:
    width = min(_CURVE_WIDTH, plan.steps)
    factors = [plan.schedule.factor(i * (plan.steps - 1) // max(1, width - 1)) for i in range(width)]
    highest = max(*factors, 1e-12)
    return "".join(_LEVELS[round(factor / highest * (len(_LEVELS) - 1))] for factor in factors)


def _changed(plan: Plan) -> Iterator[str]:
    """Settings that differ from their default, as `name = value`."""
    values = plan.given.model_dump()
    for field in fields():
        section, _, name = field.name.partition(".")
        value = values[section][name]
        if not field.required and value != field.default:
            yield f"{field.name} = {value}"
