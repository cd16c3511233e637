"""The entries of a folder, sorted out in one pass into rows of plain values.

>>> entries = sort_out("pictures/10_mofu", (".txt",))
>>> entries.pictures[0]
('01.png', '01', 4711, 1700000000123456789, 1700000000123456789)

It imports next to nothing, because it is also a program that lists captions for another one (`captions_beside.py`), and
has to be at work within 20 ms.
"""

import marshal
import os
import sys
from array import array
from operator import itemgetter

TYPE_CHECKING = False  # as `typing` has it, which takes as long to import as all else here
if TYPE_CHECKING:
    from collections.abc import Iterable

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))
NOT_READ = frozenset((".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".psd", ".svg", ".jfif", ".tga", ".ico"))
"""Extensions of pictures that are not read, and so are named instead of passed over."""

ALL, CAPTIONS, NO_CAPTIONS = "all", "captions", "no captions"
"""Which entries are looked at: those with the extension of a caption, or all others, or both."""

Row = tuple[str, str, int, int, int]
"""A file by its name and its name without extension, and what changes when its content does: bytes, and two times in
nanoseconds."""


class Entries:
    """What lies in a folder, files in the order of their names. `texts` are the files with a caption's extension, by
    extension; `others` are names of files that are neither these nor pictures; `unreadable` are names with the reason
    why nothing can be read behind them."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.pictures: list[Row] = []
        self.texts: dict[str, list[Row]] = {extension: [] for extension in texts}
        self.others: list[str] = []
        self.folders: list[str] = []
        self.not_read: list[str] = []
        self.unreadable: dict[str, str] = {}


def sort_out(folder: str, texts: tuple[str, ...], part: str = ALL) -> Entries:
    """The folder's entries; OSError when the folder itself cannot be read. `texts` are the extensions of captions, in
    lower case and with their dot."""
    found = Entries(texts)
    # By a descriptor, where the system can, a file is found without following its path.
    place = os.open(folder, os.O_RDONLY) if os.scandir in os.supports_fd else folder
    try:
        with os.scandir(place) as entries:
            _sort_in(entries, _Kinds(found, part), found)
    finally:
        if isinstance(place, int):
            os.close(place)
    for rows in (found.pictures, *found.texts.values()):
        rows.sort(key=itemgetter(0))
    return found


def columns(rows: "Iterable[Row]") -> "tuple[list[str], list[str], array[int], array[int], array[int]]":
    """Rows column by column."""
    names, stems, *numbers = tuple(zip(*rows, strict=True)) or ((),) * 5
    sizes, changed, created = (array("q", column) for column in numbers)
    return list(names), list(stems), sizes, changed, created


def split_name(name: str) -> tuple[str, str]:
    """(stem, lower-case extension), as os.path.splitext, at a fifth of its time.

    >>> split_name("my.cat.PNG"), split_name(".png")
    (('my.cat', '.png'), ('.png', ''))
    """
    stem, _, extension = name.rpartition(".")
    return (stem, f".{extension.lower()}") if stem else (name, "")


class _Kinds(dict[str, "list[Row] | None"]):
    """{an extension as it is written, without its dot: the files with it}; None where files are not gathered, and
    `aside` where they aren't looked at. What has no extension stands under none."""

    def __init__(self, found: Entries, part: str) -> None:
        self.aside: list[Row] = []
        self._found = found
        self._part = part

    def __missing__(self, written: str) -> list[Row] | None:
        extension = f".{written.lower()}"
        is_caption = extension in self._found.texts and extension not in EXTENSIONS
        if self._part == (NO_CAPTIONS if is_caption else CAPTIONS):
            self[written] = self.aside
        elif extension in EXTENSIONS:
            self[written] = self._found.pictures
        else:
            self[written] = None if extension in NOT_READ else self._found.texts.get(extension)
        return self[written]


def _sort_in(entries: "Iterable[os.DirEntry[str]]", kinds: _Kinds, found: Entries) -> None:
    for entry in entries:
        name = entry.name
        stem, _, written = name.rpartition(".")
        files = kinds[written if stem else ""]
        if files is kinds.aside:
            continue
        try:
            if files is None or not entry.is_file():
                _sort_in_other(entry, found)
                continue
            if files is found.pictures and not name.isascii():
                name.encode()
            facts = entry.stat()
            files.append((name, stem, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
        except OSError as error:
            found.unreadable[name] = error.strerror or str(error)
        except UnicodeEncodeError:
            from tehon.messages.catalogue import say  # seldom needed, and the process for captions starts without it

            found.unreadable[name.encode("utf8", "backslashreplace").decode()] = say("reason.not_unicode")


def _sort_in_other(entry: "os.DirEntry[str]", found: Entries) -> None:
    """What is no file, or none that is gathered."""
    extension = split_name(entry.name)[1]
    if entry.is_file():
        (found.not_read if extension in NOT_READ else found.others).append(entry.name)
    elif entry.is_dir():
        found.folders.append(entry.name)
    elif extension in EXTENSIONS or entry.is_symlink():
        entry.stat()  # says why: a link to nothing, or one that leads to itself


def _answer() -> None:
    """Lists the captions of each folder that is asked for on standard input; says nothing of one that can't be read."""
    texts, folders = marshal.loads(sys.stdin.buffer.read())
    for folder in folders:
        try:
            found = sort_out(folder, texts, CAPTIONS)
        except OSError:
            continue
        stamps = {extension: columns(rows) for extension, rows in found.texts.items()}  # arrays are written as bytes
        answer = marshal.dumps((folder, stamps, found.others, found.folders, found.not_read, found.unreadable))
        sys.stdout.buffer.write(len(answer).to_bytes(8, "little") + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _answer()
