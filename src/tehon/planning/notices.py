"""Sentences about a plan that is possible but may not be what was meant."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import not_

from tehon.catalog.optimizers import optimizer_row
from tehon.data.plan.captions import CLASS_WORDS, FILE_NAME, METADATA
from tehon.messages.catalogue import say
from tehon.planning.lengths import overlong_captions
from tehon.planning.plan import Plan
from tehon.planning.start import start_notices
from tehon.planning.troubles import KINDS
from tehon.settings.optimizer_rules import FALLBACK, PREFERRED
from tehon.settings.rules import remarks
from tehon.settings.schedule_rules import unheeded
from tehon.settings.sets import field_of

_NAMED = 5
_SMALL_FACTOR = 0.1
_WITH_FOLDER = frozenset(("folder_ignored", "folder_without_pictures", "folders_inside"))


def notices_for(plan: Plan) -> Iterator[str]:
    """One sentence for each thing worth saying before the start."""
    if plan.model.told_by == "weights":
        yield say("notice.prediction_by_weights", path=plan.model.path, prediction=plan.model.prediction)
    yield from picture_notices(plan)
    yield from _captions(plan)
    yield from _without_effect(plan)
    if plan.start is not None:
        yield from start_notices(plan.start, plan.settings, plan.modules)
    if plan.base_weights:
        yield say("notice.base_weights", names=", ".join(f"{one.path} x {one.strength:g}" for one in plan.base_weights))
    yield from plan.samples.remarks
    yield from remarks(plan.settings)
    rank, alpha = plan.rank_and_alpha
    if plan.settings.network.dim_from_weights and alpha > rank:
        yield say("notice.alpha_above_rank", alpha=alpha, rank=rank)
    yield from _batches(plan)
    yield from _bucket_steps(plan)


def picture_notices(plan: Plan) -> Iterator[str]:
    """What is odd about the pictures, and those that are left out."""
    troubles = plan.troubles
    if troubles.index:
        yield say("notice.index_unused", reason=troubles.index)
    for problem in troubles.skipped:
        yield say("notice.skipped", problem=problem)
    for kind in KINDS:
        names = troubles.odd[kind]
        if kind in _WITH_FOLDER:
            for name in names:
                yield say(f"notice.{kind}", path=name)
        elif names:
            total = len(plan.pictures) + len(plan.validation)
            yield say(f"notice.{kind}", count=len(names), total=total, names=listed(names))


def _captions(plan: Plan) -> Iterator[str]:
    sources = Counter(map(str.lower, compress(plan.pictures.text_sources, map(not_, plan.pictures.is_reg))))
    del sources[CLASS_WORDS]
    if len(sources) > 1:
        kinds = ", ".join(f"{n} × {shown_source(kind)}" for kind, n in sources.items())
        yield say("notice.captions_mixed", kinds=kinds)
    for name, count, rest in overlong_captions(plan):
        limit = plan.settings.text.max_token_length
        yield say("notice.caption_too_long", name=name, count=count, limit=limit, rest=rest)


def shown_source(source: str) -> str:
    """Where a caption is from, in the language to speak."""
    return {METADATA: say("plan.metadata"), FILE_NAME: say("plan.file_name")}.get(source, source)


def _without_effect(plan: Plan) -> Iterator[str]:
    """Settings that were given and change nothing."""
    settings, given = plan.settings, plan.given
    yield from _words(plan)
    yield from _optimizer(plan)
    yield from _schedule(plan)
    if settings.text.clip_skip == 2 and plan.family.pooled_from:
        yield say("notice.without_effect", field="text.clip_skip", reason=say("reason.last_layer_unused"))
    if settings.objective.prior_loss_weight != 1 and not plan.reg_reads:
        yield say("notice.without_effect", field="objective.prior_loss_weight", reason=say("reason.no_reg"))
    sets = settings.data.sets
    if settings.data.folder and sets and all(table.get("folder") for table in sets):
        yield say("notice.without_effect", field="data.folder", reason=say("reason.sets_have_folders"))
    if (given.training.max_train_epochs or 0) > given.training.epochs:
        yield say("notice.without_effect", field="training.max_train_epochs", reason=say("reason.fewer_epochs"))
    objective = settings.objective
    group = settings.training.gradient_accumulation_steps
    if objective.stratified_timesteps and max(one.batch_size for one in plan.groups) * group == 1:
        yield say("notice.without_effect", field="objective.stratified_timesteps", reason=say("reason.one_reading"))
    if objective.zero_terminal_snr and plan.zero_snr_anyway:
        yield say("notice.without_effect", field="objective.zero_terminal_snr", reason=say("reason.own_zero_snr"))
    kept = [one.place for one in plan.sets if one.wording.keep and not (one.wording.shuffle or one.wording.tag_dropout)]
    for field in _fields(kept, "keep_tokens"):
        yield say("notice.without_effect", field=field, reason=say("reason.tags_stay"))
    yield from _limits(plan)
    yield from _without_buckets(plan)
    yield from _observers(plan)
    feed = given.feed
    if feed.persistent_data_loader_workers and feed.cache_latents:
        field = "feed.persistent_data_loader_workers"
        yield say("notice.without_effect", field=field, reason=say("reason.latents_cached"))
    if feed.vae_batch_size and not feed.cache_latents:
        yield say("notice.without_effect", field="feed.vae_batch_size", reason=say("reason.latents_not_cached"))


def _words(plan: Plan) -> Iterator[str]:
    """What of the additional parameters is not simply a setting of ours."""
    words = plan.given.training.additional_parameters
    if not words.strip():
        return
    from tehon.settings.kohya.read import merge_words  # its tables are large, and few plans need them

    for line in merge_words(words, plan.given.model_dump()).lines:
        for remark in (*line.outcome.reasons, *line.outcome.differences):
            yield say("notice.words", name=line.key, text=remark)


def _optimizer(plan: Plan) -> Iterator[str]:
    name, given = plan.optimizer.name, plan.given.optimizer
    row = optimizer_row(name)
    if not given.name and name == FALLBACK:
        yield say("notice.optimizer_default", optimizer=name, preferred=PREFERRED)
    if row.rate_free and max(plan.base_rates.values()) <= _SMALL_FACTOR:
        yield say("notice.rate_is_factor", optimizer=name, rate=f"{max(plan.base_rates.values()):g}")
    if given.stop_text_encoder_training and plan.text_steps >= plan.steps:
        field = "optimizer.stop_text_encoder_training"
        yield say("notice.without_effect", field=field, reason=say("reason.text_to_the_end"))
    relative = plan.optimizer.relative
    own, none = say("reason.own_rates", optimizer=name), say("reason.no_schedule", optimizer=name)
    if given.lr_scheduler != plan.schedule.name and "lr_scheduler" in given.model_fields_set:
        yield say("notice.without_effect", field="optimizer.lr_scheduler", reason=own if relative else none)
    if relative:
        for rate in ("learning_rate", "unet_lr", "text_encoder_lr"):
            if rate in given.model_fields_set and getattr(given, rate):
                yield say("notice.without_effect", field=f"optimizer.{rate}", reason=own)


def _schedule(plan: Plan) -> Iterator[str]:
    schedule, given = plan.schedule, plan.given.optimizer
    for name in unheeded(given, schedule.name):
        field = f"optimizer.{name}"
        if name == "lr_warmup" and given.lr_warmup_steps:
            yield say("notice.without_effect", field=field, reason=say("reason.steps_given"))
        elif name.startswith("lr_warmup") and schedule.name != "adafactor":
            yield say("notice.warmup_ignored", field=field, value=getattr(given, name), schedule=schedule.name)
        else:
            yield say("notice.without_effect", field=field, reason=say("reason.schedule", schedule=schedule.name))
    if schedule.warmup >= plan.steps:
        yield say("notice.warmup_long", warmup=schedule.warmup, total=plan.steps)


def _observers(plan: Plan) -> Iterator[str]:
    """Settings of what looks on while the training runs."""
    logs = plan.given.logs
    if plan.settings.output.no_metadata and plan.settings.output.training_comment:
        yield say("notice.without_effect", field="output.training_comment", reason=say("reason.no_metadata"))
    validation = plan.given.validation
    if plan.given.samples.sampler != "euler_a" and not plan.samples.prompts:
        yield say("notice.without_effect", field="samples.sampler", reason=say("reason.no_prompts"))
    if (validation.every_n_steps or validation.every_n_epochs != 1) and not plan.validation:
        name = "every_n_steps" if validation.every_n_steps else "every_n_epochs"
        yield say("notice.without_effect", field=f"validation.{name}", reason=say("reason.nothing_held_out"))
    for name in ("prefix", "tracker_name"):
        if getattr(logs, name) and not logs.wanted:
            yield say("notice.without_effect", field=f"logs.{name}", reason=say("reason.no_logs"))
    if logs.prefix and logs.wanted and not logs.folder:
        yield say("notice.without_effect", field="logs.prefix", reason=say("reason.no_log_folder"))
    for name in ("run_name", "wandb_offline"):
        if getattr(logs, name) and "wandb" not in logs.wanted:
            yield say("notice.without_effect", field=f"logs.{name}", reason=say("reason.no_wandb"))


def _limits(plan: Plan) -> Iterator[str]:
    """The limits of buckets that come from the pictures' own sizes and so have none."""
    data = plan.settings.data
    enlarging = {one.place: one.rule.upscale and one.rule.enabled for one in plan.sets}
    for name in ("min_bucket_reso", "max_bucket_reso"):
        places = [f"data.sets[{number}]" for number, table in enumerate(data.sets) if name in table]
        places = [place for place in places if not enlarging.get(place, True)]
        if not any(enlarging.values()) and getattr(data, name) != type(data).model_fields[name].default:
            places.insert(0, "data")
        for place in places:
            yield say("notice.without_effect", field=f"{place}.{name}", reason=say("reason.own_sizes"))


def _without_buckets(plan: Plan) -> Iterator[str]:
    """That pictures are not to be enlarged, where all are scaled to one size. It is the default, so that only those who
    asked for it hear of it."""
    data = plan.given.data
    bucketed = {one.place: one.rule.enabled for one in plan.sets}
    places = [f"data.sets[{number}]" for number, table in enumerate(data.sets) if table.get("bucket_no_upscale")]
    places = [place for place in places if not bucketed.get(place, True)]
    if "bucket_no_upscale" in data.model_fields_set and data.bucket_no_upscale and not any(bucketed.values()):
        places.insert(0, "data")
    for place in places:
        yield say("notice.without_effect", field=f"{place}.bucket_no_upscale", reason=say("reason.one_size"))


def _batches(plan: Plan) -> Iterator[str]:
    short = sum(-group.reads(plan.repeats) % group.batch_size for group in plan.groups)
    size = max(group.batch_size for group in plan.groups)
    if short:
        yield say("notice.short_batches", count=short, size=size)


def _bucket_steps(plan: Plan) -> Iterator[str]:
    """Sides that the U-Net cannot halve as often as it does; sd-scripts refuses such steps."""
    wanted = plan.family.stride * 2 ** (len(plan.model.configs["unet"]["block_out_channels"]) - 1)
    odd = {one.place: one.rule.steps for one in plan.sets if one.rule.enabled and one.rule.steps % wanted}
    for field, place in _fields(odd, "bucket_reso_steps").items():
        yield say("notice.bucket_steps", field=field, value=odd[place], wanted=wanted)


def _fields(places: Iterable[str], name: str) -> dict[str, str]:
    """{the dotted name of a setting: a place that has it}: sets with none of their own have it from the section."""
    return {field_of(place, name): place for place in places}


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(name.replace("\\", "/").rpartition("/")[2] for name in names[:_NAMED])
    return f"{shown}…" if len(names) > _NAMED else shown
