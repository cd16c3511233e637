"""Where the caption of each picture comes from.

>>> read_captions(list_folder(Path("10_mofu")), "", Index(cache), every_line=False)["01.png"]
CaptionFile(text='mofu on the left', source='.txt')
"""

import os
from typing import NamedTuple

from tehon.data.plan.index import Index, Texts
from tehon.data.plan.listing import Listing
from tehon.messages.problem import Problem

CLASS_WORDS = "class words"
METADATA = "metadata"


class Caption(NamedTuple):
    """`source` is the extension of the file that the text was read from, METADATA, or CLASS_WORDS."""

    text: str
    source: str


def read_captions(listing: Listing, extension: str, index: Index, every_line: bool) -> dict[str, Caption | Problem]:
    """{picture: what its caption file says} for all pictures of a folder that have one; a Problem in its place where it
    cannot be read. An empty `extension` looks for `.caption`, then for `.txt`."""
    dotted = extension if extension.startswith(".") else f".{extension}"
    suffixes = (dotted.lower(),) if extension else (".caption", ".txt")
    known = index.captions(listing.folder)
    fresh: Texts = {}
    found: dict[str, Caption | Problem] = {}
    for picture in listing.pictures:
        name = picture[0]
        stem = listing.stems[name]
        for suffix in suffixes:
            entry = listing.others.get(stem + suffix)
            if entry is not None:
                try:
                    found[name] = Caption(caption_text(_text_of(entry, known, fresh), every_line), suffix)
                except Problem as problem:
                    found[name] = problem
                break
            if listing.unreadable and stem + suffix in listing.unreadable:
                reason = listing.unreadable[stem + suffix]
                found[name] = Problem("file_unreadable", path=listing.folder / (stem + suffix), reason=reason)
                break
    index.keep_captions(listing.folder, fresh, known)
    return found


def _text_of(entry: "os.DirEntry[str]", known: Texts, fresh: Texts) -> str:
    """What is used of `known` is taken out of it; the rest is of files that are gone."""
    try:
        facts = entry.stat()
        stamp = (entry.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        text = known.pop(stamp, None)
        if text is None:
            with open(entry.path, "rb", buffering=0) as file:  # at half the time of a text file
                text = fresh[stamp] = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Problem("caption_not_utf8", path=entry.path) from None
    except OSError as error:
        raise Problem("file_unreadable", path=entry.path, reason=error.strerror) from None
    return text


def caption_text(content: str, every_line: bool) -> str:
    """What a caption file says: its first line, or all lines that are not blank."""
    if "\n" not in content and "\r" not in content:
        return content.strip()
    lines = content.splitlines()
    if every_line:
        return "\n".join(filter(None, map(str.strip, lines)))
    return lines[0].strip() if lines else ""
