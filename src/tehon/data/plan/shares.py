"""How often each picture is read: regularisation pictures in balance with the others, some held out for validation."""

from collections.abc import Sequence
from hashlib import blake2b


def balanced(repeats: Sequence[int], wanted: int) -> list[int]:
    """Repeats of the regularisation pictures, given their own, when the pictures to learn are read `wanted` times.

    sd-scripts' way: each takes its own repeats until there are enough; where all are too few, one more for each in
    turn. So the last ones of too many are not read at all.

    >>> balanced([1, 1, 1], wanted=20)
    [7, 7, 6]
    """
    found = [0] * len(repeats)
    total = 0
    for number, own in enumerate(repeats):
        if total >= wanted:
            return found
        found[number] = own
        total += own
    rounds, rest = divmod(max(0, wanted - total), len(repeats)) if repeats else (0, 0)
    return [own + rounds + (number < rest) for number, own in enumerate(found)]


def held_out(digests: Sequence[bytes], share: float, seed: int) -> set[int]:
    """The numbers of the pictures that are held out: a share of all, rounded, but at least one and never all.

    Which ones depends on the seed and the pictures' bytes, so that neither a new name nor another picture beside it
    puts a picture from one side to the other without need. Equal pictures stay together, or the validation would be
    on what is learned.

    >>> len(held_out([b"a", b"b", b"c", b"d"], share=0.25, seed=1))
    1
    """
    if not share or len(set(digests)) < 2:
        return set()
    distinct = sorted(set(digests), key=lambda digest: blake2b(b"held out %d " % seed + digest).digest())
    count = min(len(distinct) - 1, max(1, int(share * len(distinct) + 0.5)))
    chosen = set(distinct[:count])
    return {number for number, digest in enumerate(digests) if digest in chosen}
