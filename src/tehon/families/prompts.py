"""Captions to token ids, in one, two or three sequences of 77 places.

The rules are those of sd-scripts (SdTokenizeStrategy). `words` turns text into ids without start, end or padding.

>>> token_chunks(words, "a cat", chunks=1, start=49406, end=49407, pad=49407)[0][:5]
[49406, 320, 2368, 49407, 49407]
"""

import re
from collections.abc import Callable

Words = Callable[[str], list[int]]
PIECE = 75
MOST_CHUNKS = 3


def token_chunks(words: Words, caption: str, chunks: int, start: int, end: int, pad: int) -> list[list[int]]:
    """`chunks` rows of 77 ids. Text beyond 75 ids a row is cut off; `overlong` tells how much."""
    return _rows(words(caption)[: PIECE * chunks], chunks, start, end, pad)


def plain_chunks(
    words: Words, caption: str, chunks: int, start: int, end: int, pad: int
) -> tuple[list[list[int]], list[list[float]]]:
    """`token_chunks` with the weight 1 for each id, in the shape of `weighted_chunks`."""
    rows = token_chunks(words, caption, chunks, start, end, pad)
    return rows, [[1.0] * len(row) for row in rows]


def overlong(words: Words, caption: str, chunks: int, weighted: bool = False) -> list[int]:
    """The ids of a caption that do not fit."""
    return _ids(words, caption, weighted)[PIECE * chunks :]


def filled(words: Words, caption: str, chunks: int, weighted: bool = False) -> int:
    """How many places the words of a caption fill, without start and end."""
    return min(PIECE * chunks, len(_ids(words, caption, weighted)))


def _ids(words: Words, caption: str, weighted: bool) -> list[int]:
    texts = [text for text, _ in parse_weights(caption)] if weighted else [caption]
    return [id for text in texts for id in words(text)]


def chunks_needed(words: Words, caption: str, most: int) -> int:
    """How many rows a weighted caption fills, from 1 to `most`."""
    length = sum(len(words(text)) for text, _ in parse_weights(caption))
    return min(most, max(1, -(-length // PIECE)))


def weighted_chunks(
    words: Words, caption: str, chunks: int, start: int, end: int, pad: int
) -> tuple[list[list[int]], list[list[float]]]:
    """Ids as `token_chunks`, with a weight for each. Each run of equal weight is tokenised by itself."""
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in parse_weights(caption):
        run = words(text)
        ids += run
        weights += [weight] * len(run)
    room = PIECE * chunks
    ids, weights = ids[:room], weights[:room]
    filled = weights + [1.0] * (room - len(weights))
    rows = [[1.0, *filled[i * PIECE : (i + 1) * PIECE], 1.0] for i in range(chunks)]
    return _rows(ids, chunks, start, end, pad), rows


def _rows(ids: list[int], chunks: int, start: int, end: int, pad: int) -> list[list[int]]:
    room = PIECE * chunks
    inner = [*ids, end, *[pad] * (room - len(ids))]
    rows = [[start, *inner[i * PIECE : (i + 1) * PIECE], inner[-1]] for i in range(chunks)]
    if pad != end and chunks > 1:
        for row in rows:
            if row[-2] not in (end, pad):
                row[-1] = end
            if row[1] == pad:
                row[1] = end
    return rows


_MARK = re.compile(r"\\[()\[\]\\]|\(|\[|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|\)|\]|[^\\()\[\]:]+|:|\\")


def parse_weights(text: str) -> list[tuple[str, float]]:
    """A1111's emphasis: `(x)` is x times 1.1, `[x]` divided by 1.1, `(x:1.3)` times 1.3; a backslash takes the
    meaning from a bracket, brackets nest, and one left open reaches to the end."""
    runs: list[tuple[str, float]] = []
    round_starts: list[int] = []
    square_starts: list[int] = []

    def weigh(start: int, factor: float) -> None:
        runs[start:] = [(part, weight * factor) for part, weight in runs[start:]]

    for match in _MARK.finditer(text):
        mark = match[0]
        if mark.startswith("\\") and len(mark) == 2:
            runs.append((mark[1], 1.0))
        elif mark == "(":
            round_starts.append(len(runs))
        elif mark == "[":
            square_starts.append(len(runs))
        elif match[1] is not None and round_starts:
            weigh(round_starts.pop(), float(match[1]))
        elif mark == ")" and round_starts:
            weigh(round_starts.pop(), 1.1)
        elif mark == "]" and square_starts:
            weigh(square_starts.pop(), 1 / 1.1)
        else:
            runs.append((mark, 1.0))
    for start in round_starts:
        weigh(start, 1.1)
    for start in square_starts:
        weigh(start, 1 / 1.1)
    return _joined(runs)


def _joined(runs: list[tuple[str, float]]) -> list[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    for text, weight in runs:
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined or [("", 1.0)]
