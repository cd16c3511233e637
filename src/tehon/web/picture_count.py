"""How many pictures lie in a folder, for whoever chooses one: a quick look that gives up where there are very many.

>>> count_pictures(Path("pictures"), until=monotonic() + 1)
Counted(own=0, below=176, folders=1, whole=True)
"""

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from tehon.data.plan.entries import EXTENSIONS, split_name
from tehon.messages.catalogue import say

_MOST = 10_000  # entries that are looked at


@dataclass(frozen=True)
class Counted:
    """`own` pictures in the folder itself, `below` in so many `folders` right inside it; `whole`: not cut short."""

    own: int
    below: int
    folders: int
    whole: bool

    def __str__(self) -> str:
        more = "" if self.whole else "+"
        found = [say("web.pictures_here", count=f"{self.own}{more}")] if self.own else []
        if self.below:
            found.append(say("web.pictures_below", count=f"{self.below}{more}", folders=self.folders))
        return ", ".join(found)


def count_pictures(folder: Path, until: float) -> Counted:
    """By the names alone, until this moment of the clock that only goes forward; what can't be read counts as empty."""
    left = _MOST
    counts: list[int] = []
    inside = [str(folder)]
    for place in inside:
        count = 0
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0 or (left % 100 == 0 and monotonic() > until):
                        return _counted([*counts, count], whole=False)
                    if split_name(entry.name)[1] in EXTENSIONS:
                        count += 1
                    elif not counts and not entry.name.startswith(".") and entry.is_dir():
                        inside.append(entry.path)
        except OSError:
            pass
        counts.append(count)
    return _counted(counts, whole=True)


def _counted(counts: list[int], whole: bool) -> Counted:
    own, *below = counts
    return Counted(own, sum(below), sum(map(bool, below)), whole)
