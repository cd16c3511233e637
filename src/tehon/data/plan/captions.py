"""Where the caption of each picture comes from.

>>> listing = list_folder(Path("10_mofu"), (".txt",))
>>> read_captions(listing, (".txt",), Index(cache), every_line=False).texts
['mofu on the left', 'mofu']
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from sys import intern
from typing import NamedTuple

from tehon.data.plan.entries import EXTENSIONS, split_name
from tehon.data.plan.index import Index
from tehon.data.plan.listing import Listing, Stamps
from tehon.messages.problem import Problem

CLASS_WORDS = "class words"
METADATA = "metadata"
FILE_NAME = "file name"


class Caption(NamedTuple):
    """`source` is the extension of the file that the text was read from as it is written there, METADATA, FILE_NAME, or
    CLASS_WORDS."""

    text: str
    source: str


def caption_suffixes(extension: str) -> tuple[str, ...]:
    """The extensions of caption files as a `Listing` has them, the first one found counts: the given one, with or
    without its dot; if it is empty, `.caption`, then `.txt`. A Problem for that of pictures:
    edits would replace them."""
    if new_suffix(extension).lower() in EXTENSIONS:
        raise Problem("captions_extension", field="data.caption_extension", value=extension)
    return (new_suffix(extension).lower(),) if extension else (".caption", ".txt")


def new_suffix(extension: str) -> str:
    """The extension of a caption file that is still to be written: the given one, or `.txt`."""
    return f".{extension.removeprefix('.')}" if extension else ".txt"


def caption_files(listing: Listing, extension: str) -> list[str]:
    """The name of each picture's caption file, of which `read_captions` reads the caption, or which a new one would
    get. The folder was listed with the suffixes of this extension."""
    names = [stem + new_suffix(extension) for stem in listing.pictures.stems]
    for suffix in reversed(caption_suffixes(extension)):
        files = listing.texts[suffix]
        there = dict(zip(files.stems, files.names, strict=True))
        names = [there.get(stem, name) for stem, name in zip(listing.pictures.stems, names, strict=True)]
    return names


@dataclass(frozen=True)
class FolderCaptions:
    """The captions of all pictures of a folder, column by column: what a `Caption` has of each. In the place of a text
    there is a Problem where it cannot be read, and None where a picture has none."""

    texts: list[str | Problem | None]
    sources: list[str]


def read_captions(listing: Listing, suffixes: Sequence[str], index: Index, every_line: bool) -> FolderCaptions:
    """What the caption files of a folder say. The folder was listed with these suffixes, or more; the first one that a
    picture has counts."""
    count = len(listing.pictures)
    found = FolderCaptions([None] * count, [CLASS_WORDS] * count)
    for suffix in reversed(suffixes):
        if listing.texts[suffix]:
            _read_suffix(listing, suffix, index, every_line, found)
        for number, stem in enumerate(listing.pictures.stems if listing.unreadable else ()):
            reason = listing.unreadable.get(stem + suffix)
            if reason:
                path = listing.folder / (stem + suffix)
                found.texts[number] = Problem("file_unreadable", path=path, reason=reason)
    return found


def _read_suffix(listing: Listing, suffix: str, index: Index, every_line: bool, found: FolderCaptions) -> None:
    """Puts what the files of one suffix say in the place of what was found before."""
    files = listing.texts[suffix]
    written = [intern(name[len(stem) :]) for name, stem in zip(files.names, files.stems, strict=True)]
    if files.stems == listing.pictures.stems and len({*files.stems}) == len(files):  # as it is nearly always
        said = _texts(listing.folder, suffix, files, index)
        found.texts[:] = [text if isinstance(text, Problem) else caption_text(text, every_line) for text in said]
        found.sources[:] = written
        return
    number_of = dict(zip(files.stems, range(len(files)), strict=True))
    wanted = list(map(number_of.get, listing.pictures.stems, repeat(-1)))  # for each picture, the number of its file
    used = sorted({*wanted} - {-1})
    said: list[str | Problem] = [""] * len(files)
    for file, text in zip(used, _texts(listing.folder, suffix, files.select(used), index), strict=True):
        said[file] = text if isinstance(text, Problem) else caption_text(text, every_line)
    for number, file in enumerate(wanted):
        if file >= 0:
            found.texts[number], found.sources[number] = said[file], written[file]


def _texts(folder: Path, suffix: str, files: Stamps, index: Index) -> list[str | Problem]:
    """What these files hold, from the index where it knows them."""
    known = index.captions(folder, suffix, files)
    texts = [_read(folder, name) if text is None else text for text, name in zip(known, files.names, strict=True)]
    index.keep_captions(folder, suffix, files, texts)
    return texts


def _read(folder: Path, name: str) -> str | Problem:
    path = os.path.join(folder, name)
    try:
        with open(path, "rb", buffering=0) as file:  # at half the time of a text file
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return Problem("caption_not_utf8", path=path)
    except OSError as error:
        return Problem("file_unreadable", path=path, reason=error.strerror)


def caption_of_name(name: str) -> str:
    """What a picture's own name says: its words, without the extension, with blanks where it has underscores.

    >>> caption_of_name("a_red_star, night.png")
    'a red star, night'
    """
    return " ".join(split_name(name)[0].replace("_", " ").split())


def caption_text(content: str, every_line: bool) -> str:
    """What a caption file says: its first line, or all lines that are not blank."""
    if "\n" not in content and "\r" not in content:
        return content.strip()
    lines = content.splitlines()
    if every_line:
        return "\n".join(filter(None, map(str.strip, lines)))
    return lines[0].strip() if lines else ""
