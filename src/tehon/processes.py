"""Which of several processes this is, as torchrun, accelerate and batch systems tell each of those they start.

>>> place_here()
Place(rank=0, count=1, local_rank=0, local_count=1)
"""

import os
from dataclasses import dataclass

from tehon.messages.problem import Problem


@dataclass(frozen=True)
class Place:
    """`rank` is the number of this process among the `count` of one training, the first is 0; `local_rank` and
    `local_count` say the same of those on this machine."""

    rank: int
    count: int
    local_rank: int
    local_count: int


def place_here() -> Place:
    """The place that the environment names by torch.distributed's variables; without them the process is alone. A
    Problem when they are no numbers that go together."""
    found = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    if not (found["RANK"] and found["WORLD_SIZE"]):
        return Place(0, 1, 0, 1)
    try:
        rank, count = int(found["RANK"]), int(found["WORLD_SIZE"])
        place = Place(rank, count, int(found["LOCAL_RANK"] or rank), int(found["LOCAL_WORLD_SIZE"] or count))
    except ValueError:
        place = Place(0, 0, 0, 0)
    if not (0 <= place.rank < place.count and 0 <= place.local_rank < place.local_count <= place.count):
        raise Problem("place_unclear", values=" ".join(f"{name}={value}" for name, value in found.items() if value))
    return place
