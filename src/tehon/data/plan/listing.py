"""What lies in one folder, seen in one pass: pictures with what tells a changed file, and everything beside them.

>>> list_folder(Path("pictures/10_mofu")).pictures.names
['01.png', '02.png']
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tehon.data.plan.entries import ALL, Row, columns, sort_out

FileStamp = tuple[str, int, int, int]
"""A file by its name, and what changes when its content does: bytes, and two times in nanoseconds."""


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
    def of(cls, rows: Iterable[Row]) -> "Stamps":
        """Of these files, in their order."""
        return cls(*columns(rows))

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

    def with_captions(self, captions: "Listing") -> "Listing":
        """This one of NO_CAPTIONS, with the CAPTIONS of the same folder."""
        return Listing(
            self.folder,
            self.pictures,
            captions.texts,
            [*self.others, *captions.others],
            sorted([*self.folders, *captions.folders]),
            sorted([*self.not_read, *captions.not_read]),
            self.unreadable | captions.unreadable,
        )


def list_folder(folder: Path, texts: Iterable[str] = (), part: str = ALL) -> Listing:
    """The folder's content, files sorted by name; OSError when the folder itself cannot be read. `texts` are the
    extensions of captions, in lower case and with their dot; `part` is one of `entries`."""
    found = sort_out(str(folder), tuple(texts), part)
    return Listing(
        folder,
        Stamps.of(found.pictures),
        {extension: Stamps.of(files) for extension, files in found.texts.items()},
        found.others,
        sorted(folder / name for name in found.folders),
        sorted(found.not_read),
        found.unreadable,
    )
