"""Where the caption of each picture comes from.

>>> listing = list_folder(Path("10_mofu"), (".txt",))
>>> read_captions(listing, (".txt",), Index(cache), every_line=False)["01.png"]
CaptionFile(text='mofu on the left', source='.txt')
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tehon.data.plan.index import Index
from tehon.data.plan.listing import FileStamp, Listing
from tehon.messages.problem import Problem

CLASS_WORDS = "class words"
METADATA = "metadata"


class Caption(NamedTuple):
    """`source` is the extension of the file that the text was read from, METADATA, or CLASS_WORDS."""

    text: str
    source: str


def caption_suffixes(extension: str) -> tuple[str, ...]:
    """The extensions of caption files as a `Listing` has them, the first one found counts: the given one, with or
    without its dot; if it is empty, `.caption`, then `.txt`."""
    if not extension:
        return ".caption", ".txt"
    return ((extension if extension.startswith(".") else f".{extension}").lower(),)


def read_captions(
    listing: Listing, suffixes: Sequence[str], index: Index, every_line: bool
) -> dict[str, Caption | Problem]:
    """{picture: what its caption file says} for all pictures of a folder that have one; a Problem in its place where it
    cannot be read. The folder was listed with these suffixes, or more; the first one that a picture has counts."""
    found: dict[str, Caption | Problem] = {}
    for suffix in reversed(suffixes):
        found |= _read_suffix(listing, suffix, index, every_line)
    return found


def _read_suffix(listing: Listing, suffix: str, index: Index, every_line: bool) -> dict[str, Caption | Problem]:
    folder, files = listing.folder, listing.texts[suffix]
    names = [name for (name, _, _, _), stem in zip(listing.pictures, listing.stems, strict=True) if stem in files]
    stamps = [files[stem] for stem in listing.stems if stem in files]
    known = index.captions(folder, suffix, stamps)
    texts = [_read(folder, s) if text is None else text for text, s in zip(known, stamps, strict=True)]
    index.keep_captions(folder, suffix, stamps, texts)
    found = {
        name: text if isinstance(text, Problem) else Caption(caption_text(text, every_line), suffix)
        for name, text in zip(names, texts, strict=True)
    }
    if listing.unreadable:
        for (name, _, _, _), stem in zip(listing.pictures, listing.stems, strict=True):
            reason = listing.unreadable.get(stem + suffix)
            if reason:
                found[name] = Problem("file_unreadable", path=folder / (stem + suffix), reason=reason)
    return found


def _read(folder: Path, stamp: FileStamp) -> str | Problem:
    path = os.path.join(folder, stamp[0])
    try:
        with open(path, "rb", buffering=0) as file:  # at half the time of a text file
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return Problem("caption_not_utf8", path=path)
    except OSError as error:
        return Problem("file_unreadable", path=path, reason=error.strerror)


def caption_text(content: str, every_line: bool) -> str:
    """What a caption file says: its first line, or all lines that are not blank."""
    if "\n" not in content and "\r" not in content:
        return content.strip()
    lines = content.splitlines()
    if every_line:
        return "\n".join(filter(None, map(str.strip, lines)))
    return lines[0].strip() if lines else ""
