"""What a caption becomes at one reading: sd-scripts' steps in its order, each with random numbers of its own.

>>> worded("mofu, red, tall", Wording(shuffle=True, keep=1), stream_of(seed=1, epoch=0, picture=0, repeat=0), epoch=0)
'mofu, tall, red'
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random

Streams = Callable[[str], Random]
"""Random numbers by purpose, so that switching one thing on changes no other's."""

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@dataclass(frozen=True)
class Wording:
    """The rules for the captions of one set of pictures."""

    prefix: str = ""
    suffix: str = ""
    wildcards: bool = False
    separator: str = ","
    secondary: str = ""
    shuffle: bool = False
    keep: int = 0
    keep_mark: str = ""
    tag_dropout: float = 0.0
    dropout: float = 0.0
    dropout_every: int = 0

    @cached_property
    def changes(self) -> bool:
        """Whether anything but dropping and the order of tags makes another text of a caption."""
        return bool(self.prefix or self.suffix or self.wildcards or self.keep_mark or self.secondary)


def worded(caption: str, rules: Wording, streams: Streams, epoch: int) -> str:
    """The caption of one reading; `epoch` counts from 0. A dropped caption is empty, prefix and suffix too."""
    if is_dropped(rules, streams, epoch):
        return ""
    text = caption
    if rules.wildcards:
        lines = text.split("\n")
        text = lines[0] if len(lines) == 1 else streams("line").choice(lines)
    text = framed(text, rules)
    if rules.wildcards and "{" in text:
        draw = streams("wildcard")
        text = _expanded(text, lambda options: draw.choice(options))
    if rules.shuffle or rules.tag_dropout or _marked(text, rules):
        text = _rearranged(text, rules, streams)
    return _converted(text, rules)


def plain(caption: str, rules: Wording) -> str:
    """The caption without anything left to chance, for validation: first line, first alternatives, order as written."""
    text = framed(caption.split("\n")[0], rules)
    if rules.wildcards:
        text = _expanded(text, lambda options: options[0])
    return _without_marks(text, rules)


def framed(text: str, rules: Wording) -> str:
    """Prefix, text and suffix with a blank between them."""
    return " ".join(filter(None, (rules.prefix, text, rules.suffix)))


def longest(caption: str, rules: Wording) -> str:
    """The longest that the caption can become, to see whether it has to be cut."""
    if not rules.changes and "\n" not in caption:
        return caption
    texts = [framed(line, rules) for line in caption.split("\n")]
    if rules.wildcards:
        texts = [_expanded(text, lambda options: max(options, key=len)) for text in texts]
    return max((_without_marks(text, rules) for text in texts), key=len)


def _without_marks(text: str, rules: Wording) -> str:
    """The text with all its tags in their order."""
    if _marked(text, rules):
        text = _joined([tag for part in _parts(text, rules) for tag in part], rules)
    return _converted(text, rules)


def _converted(text: str, rules: Wording) -> str:
    return text.replace(rules.secondary, rules.separator) if rules.secondary else text


def is_dropped(rules: Wording, streams: Streams, epoch: int) -> bool:
    """Whether this reading goes without caption. Epochs count from 1 here, as people count them."""
    if rules.dropout_every and (epoch + 1) % rules.dropout_every == 0:
        return True
    return rules.dropout > 0 and streams("caption dropout").random() < rules.dropout


def _expanded(text: str, choose: Callable[[list[str]], str]) -> str:
    """`{a|b}` becomes one of its alternatives, `{{` and `}}` become braces."""

    def one(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else choose(match[1].split("|"))

    return _BRACES.sub(one, text)


def _marked(text: str, rules: Wording) -> bool:
    return bool(rules.keep_mark) and rules.keep_mark in text


def _parts(text: str, rules: Wording) -> tuple[list[str], list[str], list[str]]:
    """(tags fixed at the start, movable tags, tags fixed at the end)."""
    if _marked(text, rules):
        head, _, rest = text.partition(rules.keep_mark)
        middle, _, tail = rest.partition(rules.keep_mark)
        parts = [[tag for tag in _tags(part, rules) if tag] for part in (head, middle, tail)]
        return parts[0], parts[1], parts[2]
    tags = _tags(text, rules)
    return tags[: rules.keep], tags[rules.keep :], []


def _tags(text: str, rules: Wording) -> list[str]:
    return [tag.strip() for tag in text.split(rules.separator)]


def _rearranged(text: str, rules: Wording, streams: Streams) -> str:
    head, movable, tail = _parts(text, rules)
    if rules.shuffle:
        streams("shuffle").shuffle(movable)
    if rules.tag_dropout:
        draw = streams("tag dropout")
        movable = [tag for tag in movable if draw.random() >= rules.tag_dropout]
    return _joined([*head, *movable, *tail], rules)


def _joined(tags: list[str], rules: Wording) -> str:
    separator = rules.separator.rstrip()
    return (f"{separator} " if separator else rules.separator).join(tags)
