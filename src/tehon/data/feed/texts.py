"""Where text states come from: encoded at each reading, or once and kept while the text encoder does not change.

Kept states must be the same after a resume, to the last bit, and a matrix product may round a row differently in
another company. So captions are encoded in blocks that depend on the plan alone: all captions of the run when they are
few, else those of 64 steps at a time, counted from where the text encoder learns no more, wherever the run started.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

BLOCK_STEPS = 64
MOST_KEPT = 4096  # captions; at 77 places of 768 numbers that is about a gigabyte
_AT_ONCE = 16

Text = dict[str, Tensor]
"""What captions say to the network, by name; the first axis of each tensor counts the captions."""
EncodeText = Callable[[Sequence[str]], Text]


class TextSource(Protocol):
    """Gives the states of captions."""

    @property
    def encodes_later(self) -> bool:
        """Whether captions are encoded after the first update too."""
        ...

    def prepare(self, step: int) -> None:
        """Says which step comes next."""
        ...

    def given(self, captions: Sequence[str], /) -> Text:
        """What `states` makes the states of, in which nothing that learns has a part."""
        ...

    def states(self, given: Text, /) -> Text:
        """The states, differentiable where a text encoder learns. What is given beside them stays as it is."""
        ...

    def read(self, captions: Sequence[str], /) -> Text:
        """Both in one."""
        ...


class FreshTexts:
    """Captions are encoded when they are read, by an encoder that learns nothing."""

    encodes_later = True

    def __init__(self, encode: EncodeText) -> None:
        self.read = self.given = encode

    def prepare(self, step: int) -> None:
        """Nothing to do."""

    def states(self, given: Text) -> Text:
        return given


class LearningTexts:
    """Captions are encoded when they are read: gradients reach the text encoder."""

    encodes_later = True

    def __init__(self, tokens: EncodeText, encode: Callable[[Text], Text]) -> None:
        """`encode` makes states of what `tokens` makes of captions."""
        self.given = tokens
        self.states = encode

    def prepare(self, step: int) -> None:
        """Nothing to do."""

    def read(self, captions: Sequence[str]) -> Text:
        return self.states(self.given(captions))


class TextsInTurn:
    """Captions come from `first` before a step, and from `then` from it on."""

    encodes_later = True

    def __init__(self, first: TextSource, step: int, then: TextSource) -> None:
        self.sources = first, then
        self.step = step
        self._now = first

    def prepare(self, step: int) -> None:
        self._now = self.sources[step >= self.step]
        self._now.prepare(step)

    def given(self, captions: Sequence[str]) -> Text:
        return self._now.given(captions)

    def states(self, given: Text) -> Text:
        return self._now.states(given)

    def read(self, captions: Sequence[str]) -> Text:
        return self._now.read(captions)


class KeptTexts:
    """Each caption of a block is encoded once, without gradients, before the block's first step."""

    def __init__(
        self, encode: EncodeText, captions_of: Callable[[int], Iterable[str]], steps: int, block: int, first: int = 0
    ) -> None:
        """`captions_of(step)` are the captions read in a step, from `first` to before `steps`; `block` is in steps."""
        self.encode = encode
        self.captions_of = captions_of
        self.steps = steps
        self.block = block
        self.first = first
        self._at: int | None = None
        self._kept: dict[str, Text] = {}

    @property
    def encodes_later(self) -> bool:
        return self.block < self.steps

    def prepare(self, step: int) -> None:
        at = (step - self.first) // self.block
        if self._at == at:
            return
        self._at = at
        first = self.first + at * self.block
        block = range(first, min(first + self.block, self.steps))
        captions = list(dict.fromkeys(caption for step in block for caption in self.captions_of(step)))
        self._kept = {}
        for start in range(0, len(captions), _AT_ONCE):
            some = captions[start : start + _AT_ONCE]
            with torch.no_grad():
                text = self.encode(some)
            for row, caption in enumerate(some):
                self._kept[caption] = {name: tensor[row] for name, tensor in text.items()}

    def given(self, captions: Sequence[str]) -> Text:
        return self.read(captions)

    def states(self, given: Text) -> Text:
        return given

    def read(self, captions: Sequence[str]) -> Text:
        if not all(caption in self._kept for caption in captions):
            with torch.no_grad():
                return self.encode(captions)
        rows = [self._kept[caption] for caption in captions]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def block_for(captions_of: Callable[[int], Iterable[str]], steps: int, most: int, first: int = 0) -> int:
    """How many steps a block of `KeptTexts` should have: all from `first` on when they read no more than `most`
    captions."""
    seen: set[str] = set()
    for step in range(first, steps):
        seen.update(captions_of(step))
        if len(seen) > min(most, MOST_KEPT):
            return BLOCK_STEPS
    return max(1, steps)
