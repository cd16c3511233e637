"""What lies in one folder, seen in one pass: pictures with what tells a changed file, and everything beside them.

>>> list_folder(Path("pictures/10_mofu")).pictures[0].name
'01.png'
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))
NOT_READ = frozenset((".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".psd", ".svg", ".jfif", ".tga", ".ico"))
"""Extensions of pictures that are not read, and so are named instead of passed over."""


FileStamp = tuple[str, int, int, int]
"""A file by its name, and what changes when its content does: bytes, and two times in nanoseconds. A bare tuple, as
there are as many as pictures."""


@dataclass
class Listing:
    """One folder's content. `stems` are the pictures' names without extension, in their order. `texts` are the files
    with a caption's extension, by extension and stem; `others` are names of files that are neither; `unreadable` are
    names with the reason why nothing can be read behind them."""

    folder: Path
    pictures: list[FileStamp] = field(default_factory=list[FileStamp])
    stems: list[str] = field(default_factory=list[str])
    texts: dict[str, dict[str, FileStamp]] = field(default_factory=dict[str, dict[str, FileStamp]])
    others: list[str] = field(default_factory=list[str])
    folders: list[Path] = field(default_factory=list[Path])
    not_read: list[str] = field(default_factory=list[str])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])


def list_folder(folder: Path, texts: Iterable[str] = ()) -> Listing:
    """The folder's content, pictures sorted by name; OSError when the folder itself cannot be read. `texts` are the
    extensions of captions, in lower case and with their dot."""
    found = Listing(folder, texts={extension: {} for extension in texts})
    with os.scandir(folder) as entries:
        _sort_in(entries, found)
    found.pictures.sort(key=itemgetter(0))
    found.stems = [name.rpartition(".")[0] for name, _, _, _ in found.pictures]
    found.folders.sort()
    found.not_read.sort()
    return found


def split_name(name: str) -> tuple[str, str]:
    """(stem, lower-case extension), as os.path.splitext, at a fifth of its time.

    >>> split_name("my.cat.PNG"), split_name(".png")
    (('my.cat', '.png'), ('.png', ''))
    """
    stem, _, extension = name.rpartition(".")
    return (stem, f".{extension.lower()}") if stem else (name, "")


def _sort_in(entries: "Iterable[os.DirEntry[str]]", found: Listing) -> None:
    pictures, texts = found.pictures, found.texts
    for entry in entries:
        name = entry.name
        stem, extension = split_name(name)
        try:
            if not entry.is_file():
                _sort_in_no_file(entry, extension, found)
            elif extension in EXTENSIONS:
                if not name.isascii():
                    name.encode()
                pictures.append(_stamp(entry))
            elif extension in NOT_READ:
                found.not_read.append(name)
            elif extension in texts:
                texts[extension][stem] = _stamp(entry)
            else:
                found.others.append(name)
        except OSError as error:
            found.unreadable[name] = error.strerror or str(error)
        except UnicodeEncodeError:
            found.unreadable[name.encode("utf8", "backslashreplace").decode()] = "the file name is not Unicode"


def _stamp(entry: "os.DirEntry[str]") -> FileStamp:
    facts = entry.stat()
    return entry.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _sort_in_no_file(entry: "os.DirEntry[str]", extension: str, found: Listing) -> None:
    if entry.is_dir():
        found.folders.append(found.folder / entry.name)
    elif extension in EXTENSIONS or entry.is_symlink():
        entry.stat()  # says why: a link to nothing, or one that leads to itself
