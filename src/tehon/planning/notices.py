"""Sentences about a plan that is possible but may not be what was meant."""

from collections import Counter
from collections.abc import Iterator

from tehon.data.plan.captions import CLASS_WORDS
from tehon.messages.catalogue import say
from tehon.planning.plan import Plan
from tehon.planning.start import start_notices


def notices_for(plan: Plan) -> Iterator[str]:
    """One sentence for each thing worth saying before the start."""
    settings = plan.settings
    for folder in plan.ignored_folders:
        yield say("notice.folder_ignored", path=folder, name=f"10_{folder.name.lstrip('0123456789_')}")
    for folder in plan.empty_folders:
        yield say("notice.folder_without_pictures", path=folder)
    uncaptioned = [picture for picture in plan.pictures if picture.caption.source == CLASS_WORDS]
    if uncaptioned:
        names = ", ".join(picture.path.name for picture in uncaptioned[:5])
        more = "…" if len(uncaptioned) > 5 else ""
        yield say("notice.captions_missing", count=len(uncaptioned), total=len(plan.pictures), names=names + more)
    sources = Counter(picture.caption.source for picture in plan.pictures) - Counter({CLASS_WORDS: 10**9})
    if len(sources) > 1:
        yield say("notice.captions_mixed", kinds=", ".join(f"{n} × {kind}" for kind, n in sources.items()))
    empty = [picture.path.name for picture in plan.pictures if not picture.caption.text]
    if empty:
        yield say("notice.captions_empty", count=len(empty), names=", ".join(empty[:5]))
    if plan.start is not None:
        yield from start_notices(plan.start, settings, plan.modules)
    if settings.network.alpha > settings.network.rank:
        yield say("notice.alpha_above_rank", alpha=settings.network.alpha, rank=settings.network.rank)
    asked = "lr_warmup" in plan.given.optimizer.model_fields_set and settings.optimizer.lr_warmup
    if settings.optimizer.lr_scheduler == "constant" and asked:
        yield say("notice.warmup_ignored", percent=settings.optimizer.lr_warmup)
    if settings.data.batch_size > 1 and plan.batches_per_epoch * settings.data.batch_size > plan.reads_per_epoch:
        short = plan.batches_per_epoch * settings.data.batch_size - plan.reads_per_epoch
        yield say("notice.short_batches", count=short, size=settings.data.batch_size)
