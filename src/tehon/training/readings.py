"""What the readings of a plan see and are told, as the feed wants to have it.

>>> view_of(plan, epoch=0, read=Read(picture=3, repeat=0)).look
Look(crop=(16, 0), flip=True, shift=None)
"""

from collections.abc import Iterator
from itertools import groupby

from tehon.data.feed.views import View, Views
from tehon.data.plan.epochs import Read
from tehon.data.plan.variation import Look
from tehon.planning.plan import Plan
from tehon.training.loop import Share


def view_of(plan: Plan, epoch: int, read: Read) -> View:
    """The picture of a reading, and how it is seen."""
    return View(plan.source(read.picture), plan.look(epoch, read))


def kept_views(plan: Plan) -> list[View]:
    """All ways in which the pictures can be seen when nothing but mirroring is left to chance."""
    return [
        View(picture.source, Look(picture.placement.crop, flip))
        for picture in plan.pictures
        for flip in ((False, True) if picture.set.look.flip else (False,))
    ]


def held_out(plan: Plan) -> list[tuple[View, str]]:
    """The pictures for validation with their captions: nothing is left to chance."""
    return [(View(p.source, Look(p.placement.crop)), p.plain_caption) for p in plan.validation]


def captions_of(plan: Plan, step: int) -> Iterator[str]:
    """The captions of all readings of an update."""
    epoch, batches = plan.group(step)
    return (plan.caption(epoch, read) for batch in batches for read in batch.reads)


def upcoming(plan: Plan, share: Share, first: int) -> Iterator[Iterator[Views]]:
    """The views of each piece of a batch that this process has a share in, from an update on to the last one, epoch by
    epoch."""
    for epoch, steps in groupby(range(first, plan.steps), lambda step: step // plan.steps_per_epoch):
        pieces = (piece for step in steps for _, piece in share(plan.group(step)[1]))
        yield (tuple(view_of(plan, epoch, read) for read in piece.reads) for piece in pieces)
