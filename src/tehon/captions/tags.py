"""Tags of a caption as text: pure functions, the same for one caption and for thousands.

>>> add(["red"], "owl, sitting")
'owl, sitting, red'
"""

from collections import Counter
from collections.abc import Callable, Iterable

Edit = Callable[[str], str]
"""From a caption to the caption that takes its place."""


def split(caption: str, separator: str = ",") -> list[str]:
    """The tags of a caption, without the blanks around them; empty ones are left out."""
    return [tag for part in caption.split(separator) if (tag := part.strip())]


def join(tags: Iterable[str], separator: str = ",") -> str:
    return f"{separator} ".join(tags)


def add(new: Iterable[str], caption: str, *, first: bool = False) -> str:
    """With these tags at the end, or at the beginning; those that it has stay where they are."""
    old = split(caption)
    fresh = [tag for tag in dict.fromkeys(map(str.strip, new)) if tag and tag not in old]
    return join([*fresh, *old] if first else [*old, *fresh]) if fresh else caption


def remove(unwanted: Iterable[str], caption: str) -> str:
    """Without these tags."""
    gone = set(map(str.strip, unwanted))
    old = split(caption)
    left = [tag for tag in old if tag not in gone]
    return caption if left == old else join(left)


def replace(old: str, new: str, caption: str, *, whole_tags: bool = True) -> str:
    """With one tag in the place of another, once where it would be there twice; or with one text in the place of
    another wherever that stands."""
    if not whole_tags:
        return caption.replace(old, new)
    tags = split(caption)
    if old.strip() not in tags:
        return caption
    return join(dict.fromkeys(new.strip() if tag == old.strip() else tag for tag in tags if tag))


def dedupe(caption: str) -> str:
    """With each tag once, where it first stands."""
    tags = split(caption)
    left = list(dict.fromkeys(tags))
    return caption if left == tags else join(left)


def by_line(edit: Edit, text: str) -> str:
    """An edit of each line of a caption file; several lines are captions to choose from."""
    return "\n".join(edit(line) if line.strip() else line for line in text.splitlines())


def sort(caption: str, keep: int = 0) -> str:
    """With its tags in the order of the alphabet, but for the first `keep`."""
    tags = split(caption)
    return join([*tags[:keep], *sorted(tags[keep:], key=str.casefold)])


def count(captions: Iterable[str], *, every_line: bool = False) -> list[tuple[str, int]]:
    """All tags with the number of captions that they are in, the most frequent first. Several lines are captions to
    choose from, and only the first one is trained unless every line is."""
    lines = (caption.splitlines()[: None if every_line else 1] for caption in captions)
    found = Counter(tag for own in lines for tag in dict.fromkeys(tag for line in own for tag in split(line)))
    return sorted(found.items(), key=lambda row: (-row[1], row[0].casefold()))
