"""What lies in one folder, seen in one pass: pictures with what tells a changed file, and everything beside them.

>>> list_folder(Path("pictures/10_mofu")).pictures.names
['01.png', '02.png']
"""

import os
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))
NOT_READ = frozenset((".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".psd", ".svg", ".jfif", ".tga", ".ico"))
"""Extensions of pictures that are not read, and so are named instead of passed over."""

FileStamp = tuple[str, int, int, int]
"""A file by its name, and what changes when its content does: bytes, and two times in nanoseconds."""
_Row = tuple[str, str, int, int, int]
"""A stamp with the name without extension in second place."""
_NAME = itemgetter(0)


@dataclass(frozen=True)
class Stamps:
    """The stamps of files of one folder, column by column, as there may be very many. `stems` are the names without
    extension, `sizes` bytes, `changed` and `created` nanoseconds."""

    names: list[str]
    stems: list[str]
    sizes: "array[int]"
    changed: "array[int]"
    created: "array[int]"

    @classmethod
    def of(cls, rows: Iterable[_Row]) -> "Stamps":
        """Of these files, in their order."""
        names, stems, *numbers = tuple(zip(*rows, strict=True)) or ((),) * 5
        sizes, changed, created = (array("q", column) for column in numbers)
        return cls(list(names), list(stems), sizes, changed, created)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[FileStamp]:
        return zip(self.names, self.sizes, self.changed, self.created, strict=True)

    def select(self, numbers: Sequence[int]) -> "Stamps":
        """Those of these numbers, which ascend."""
        if len(numbers) == len(self):
            return self
        names, stems = ([column[number] for number in numbers] for column in (self.names, self.stems))
        columns = self.sizes, self.changed, self.created
        return Stamps(names, stems, *(array("q", [column[number] for number in numbers]) for column in columns))

    def packed(self) -> bytes:
        """All of it as bytes, which are equal when all files are as they were. No file's name has "/" or zero in it."""
        names = "/".join(self.names).encode("utf8", "surrogatepass")
        return b"\0".join((names, b"".join(column.tobytes() for column in (self.sizes, self.changed, self.created))))

    @staticmethod
    def unpacked(packed: bytes) -> list[FileStamp]:
        """What was packed, file by file."""
        names, _, rest = packed.partition(b"\0")
        numbers = array("q", rest)
        count = len(numbers) // 3
        columns = (numbers[start : start + count] for start in range(0, 3 * count, count or 1))
        return list(zip(names.decode("utf8", "surrogatepass").split("/"), *columns, strict=True)) if count else []


@dataclass
class Listing:
    """One folder's content. `pictures` are sorted by name. `texts` are the files with a caption's extension, by
    extension; `others` are names of files that are neither; `unreadable` are names with the reason why nothing can be
    read behind them."""

    folder: Path
    pictures: Stamps = field(default_factory=lambda: Stamps.of(()))
    texts: dict[str, Stamps] = field(default_factory=dict[str, Stamps])
    others: list[str] = field(default_factory=list[str])
    folders: list[Path] = field(default_factory=list[Path])
    not_read: list[str] = field(default_factory=list[str])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])


def list_folder(folder: Path, texts: Iterable[str] = ()) -> Listing:
    """The folder's content, files sorted by name; OSError when the folder itself cannot be read. `texts` are the
    extensions of captions, in lower case and with their dot."""
    found = Listing(folder)
    gathered = _Gathered(texts)
    with _entries(folder) as entries:
        _sort_in(entries, gathered, found)
    found.pictures = Stamps.of(sorted(gathered.pictures, key=_NAME))
    found.texts = {extension: Stamps.of(sorted(files, key=_NAME)) for extension, files in gathered.texts.items()}
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


class _Gathered(dict[str, list[_Row] | None]):
    """{an extension as it is written, without its dot: the files with it}; None where files are not gathered."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.pictures: list[_Row] = []
        self.texts: dict[str, list[_Row]] = {extension: [] for extension in texts}

    def __missing__(self, written: str) -> list[_Row] | None:
        extension = f".{written.lower()}"
        if extension in EXTENSIONS:
            self[written] = self.pictures
        else:
            self[written] = None if extension in NOT_READ else self.texts.get(extension)
        return self[written]


@contextmanager
def _entries(folder: Path) -> "Generator[Iterable[os.DirEntry[str]], None, None]":
    """The folder's entries, by its descriptor where the system can: a file is then found without following its path."""
    if os.scandir not in os.supports_fd:
        with os.scandir(folder) as entries:
            yield entries
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def _sort_in(entries: "Iterable[os.DirEntry[str]]", gathered: _Gathered, found: Listing) -> None:
    for entry in entries:
        name = entry.name
        stem, _, written = name.rpartition(".")
        files = gathered[written] if stem else None
        try:
            if files is None or not entry.is_file():
                _sort_in_other(entry, found)
                continue
            if files is gathered.pictures and not name.isascii():
                name.encode()
            facts = entry.stat()
            files.append((name, stem, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
        except OSError as error:
            found.unreadable[name] = error.strerror or str(error)
        except UnicodeEncodeError:
            found.unreadable[name.encode("utf8", "backslashreplace").decode()] = "the file name is not Unicode"


def _sort_in_other(entry: "os.DirEntry[str]", found: Listing) -> None:
    """What is no file, or none that is gathered."""
    extension = split_name(entry.name)[1]
    if entry.is_file():
        (found.not_read if extension in NOT_READ else found.others).append(entry.name)
    elif entry.is_dir():
        found.folders.append(found.folder / entry.name)
    elif extension in EXTENSIONS or entry.is_symlink():
        entry.stat()  # says why: a link to nothing, or one that leads to itself
