"""Where the caption of each picture comes from.

>>> read_captions(list_folder(Path("10_mofu")), "", Index(cache))["01.png"]
CaptionFile(text='mofu on the left', source='.txt')
"""

import os
from typing import NamedTuple

from tehon.data.plan.index import Index, Texts
from tehon.data.plan.listing import FileStamp, Listing
from tehon.messages.problem import Problem

CLASS_WORDS = "class words"
METADATA = "metadata"


class Caption(NamedTuple):
    """`source` is the extension of the file that the text was read from, METADATA, or CLASS_WORDS."""

    text: str
    source: str


def read_captions(listing: Listing, extension: str, index: Index) -> dict[str, Caption | Problem]:
    """{picture: the whole text of its caption file} for all pictures of a folder that have one; a Problem in its place
    where it cannot be read. An empty `extension` looks for `.caption`, then for `.txt`."""
    dotted = extension if extension.startswith(".") else f".{extension}"
    suffixes = (dotted.lower(),) if extension else (".caption", ".txt")
    known = index.captions(listing.folder)
    fresh: Texts = {}
    seen: set[FileStamp] = set()
    found: dict[str, Caption | Problem] = {}
    for picture in listing.pictures:
        name = picture[0]
        stem = listing.stems[name]
        for suffix in suffixes:
            entry = listing.others.get(stem + suffix)
            if entry is None and stem + suffix not in listing.unreadable:
                continue
            if entry is None:
                reason = listing.unreadable[stem + suffix]
                found[name] = Problem("file_unreadable", path=listing.folder / (stem + suffix), reason=reason)
                break
            try:
                text = _text_of(entry, known, fresh, seen)
            except Problem as problem:
                found[name] = problem
            else:
                found[name] = Caption(text, suffix)
            break
    index.keep_captions(listing.folder, fresh, known.keys() - seen)
    return found


def _text_of(entry: "os.DirEntry[str]", known: Texts, fresh: Texts, seen: set[FileStamp]) -> str:
    try:
        facts = entry.stat()
        stamp = (entry.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        seen.add(stamp)
        text = known.get(stamp)
        if text is None:
            with open(entry.path, encoding="utf-8-sig") as file:
                text = fresh[stamp] = file.read()
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
