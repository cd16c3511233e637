"""A plan as data for machines and as text for people."""

from collections.abc import Iterator
from typing import Any

from tehon.data.plan.captions import CLASS_WORDS
from tehon.messages.catalogue import say
from tehon.planning.module_table import module_row, network_line, strength
from tehon.planning.notices import notices_for
from tehon.planning.plan import Plan
from tehon.settings.fields import fields

_CURVE_WIDTH = 60
_LEVELS = " ▁▂▃▄▅▆▇█"


def as_data(plan: Plan) -> dict[str, Any]:
    """All of the plan, with the rate of each part at every step; what `tehon plan --json` prints."""
    training = plan.settings.training
    return {
        "family": plan.family.name,
        "model": str(plan.model),
        "images": [
            {
                "path": str(picture.path),
                "size": list(picture.size),
                "bucket": list(picture.placement.bucket),
                "resized": list(picture.placement.resized),
                "crop": list(picture.placement.crop),
                "repeats": picture.folder.repeats,
                "caption": picture.caption.text,
                "caption_source": picture.caption.source,
            }
            for picture in plan.pictures
        ],
        "buckets": [
            {
                "width": width,
                "height": height,
                "images": len(members),
                "count": sum(plan.pictures[i].folder.repeats for i in members),
            }
            for (width, height), members in plan.buckets.items()
        ],
        "steps": {
            "images": len(plan.pictures),
            "reads_per_epoch": plan.reads_per_epoch,
            "batch_size": plan.settings.data.batch_size,
            "batches_per_epoch": plan.batches_per_epoch,
            "gradient_accumulation_steps": training.gradient_accumulation_steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "epochs": plan.epochs,
            "warmup": plan.schedule.warmup,
            "total": plan.steps,
        },
        "rates": {root: [plan.rate(root, step) for step in range(plan.steps)] for root in plan.group_rates},
        "scale": strength(plan.settings.network.alpha, plan.settings.network.rank, plan.settings.network.rs_lora),
        "modules": [module_row(plan, module) for module in plan.modules],
        "seed": training.seed,
        "warnings": list(notices_for(plan)),
    }


def as_text(plan: Plan) -> str:
    """The plan in words, in the language to speak."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    settings = plan.settings
    captioned = sum(picture.caption.source != CLASS_WORDS for picture in plan.pictures)
    yield say("plan.model", model=settings.model.path, family=plan.family.name)
    yield say("plan.pictures", count=len(plan.pictures), captioned=captioned, reads=plan.reads_per_epoch)
    for (width, height), members in plan.buckets.items():
        reads = sum(plan.pictures[i].folder.repeats for i in members)
        yield say("plan.bucket", width=width, height=height, count=len(members), reads=reads)
    yield say(
        "plan.steps",
        batches=plan.batches_per_epoch,
        group=settings.training.gradient_accumulation_steps,
        per_epoch=plan.steps_per_epoch,
        epochs=plan.epochs,
        total=plan.steps,
    )
    yield network_line(plan)
    for root, rate in plan.base_rates.items():
        yield say("plan.rate", part=plan.family.adapter_roots[root], rate=f"{rate:g}")
    yield say("plan.schedule", name=plan.schedule.name, warmup=plan.schedule.warmup, curve=_curve(plan))
    changed = list(_changed(plan))
    if changed:
        yield say("plan.changed", settings=", ".join(changed))
    for notice in notices_for(plan):
        yield say("cli.notice", text=notice)


def _curve(plan: Plan) -> str:
    width = min(_CURVE_WIDTH, plan.steps)
    factors = [plan.schedule.factor(i * (plan.steps - 1) // max(1, width - 1)) for i in range(width)]
    return "".join(_LEVELS[round(factor * (len(_LEVELS) - 1))] for factor in factors)


def _changed(plan: Plan) -> Iterator[str]:
    """Settings that differ from their default, as `name = value`."""
    values = plan.given.model_dump()
    for field in fields():
        section, _, name = field.name.partition(".")
        value = values[section][name]
        if not field.required and value != field.info.default:
            yield f"{field.name} = {value}"
