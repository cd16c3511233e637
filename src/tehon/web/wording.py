"""A run's status in a few words."""

from tehon.messages.catalogue import say
from tehon.runs.read import RECENT
from tehon.runs.status import Status


def state_line(status: Status) -> str:
    """Its state with how far it is, as `training · 120 of 400 · 3 min left`."""
    parts = [say(f"state.{status.state}")]
    if status.state == "encoding" and status.total:
        parts.append(say("web.encoded", done=status.done or 0, total=status.total))
    elif status.step is not None and status.steps:
        parts.append(say("web.of", step=status.step, steps=status.steps))
    if status.seconds_left is not None and status.at_work:
        parts.append(say("web.left", time=duration(status.seconds_left)))
    return " · ".join(parts)


def mean_loss(status: Status) -> str:
    """The loss of a single step jumps, so it is the mean of the last ones."""
    return say("web.loss", loss=f"{status.loss:.4f}", count=min(RECENT, status.step or 1))


def progress_of(status: Status) -> float:
    """From 0 to 1."""
    return min(1.0, (status.step or 0) / status.steps) if status.steps else 0.0


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return say("web.seconds", seconds=round(seconds))
    if minutes < 90:
        return say("web.minutes", minutes=minutes)
    return say("web.hours", hours=minutes // 60, minutes=minutes % 60)


def way_on(status: Status) -> str:
    """From where a run that has ended early can go on; empty for others."""
    if status.at_work or status.state == "finished":
        return ""
    return say("web.goes_on", step=status.saved) if status.saved else say("web.begins_anew")
