"""The mask of each picture, found by its name without extension."""

from pathlib import Path

from tehon.data.plan.buckets import Size
from tehon.data.plan.listing import split_name
from tehon.messages.problem import Problem
from tehon.planning.files import Files


class Masks:
    """The masks of one set: in a folder named like the picture's own if there is one, else in the mask folder."""

    def __init__(self, folders: list[Path], files: Files) -> None:
        self._base = folders[0] if folders else None
        self._files = files
        self._by_stem = {
            folder: {stem: name for name, stem in sorted(files.listings[folder].stems.items())} for folder in folders
        }
        self._used: set[Path] = set()

    def of(self, folder: Path, name: str, size: Size) -> Path:
        """The mask of a picture of this size; a Problem when there is none, or none that fits."""
        assert self._base, "only sets with a mask folder ask"
        own = self._base / folder.name
        place = own if own in self._by_stem else self._base
        mask = self._by_stem[place].get(split_name(name)[0])
        if mask is None:
            raise Problem("mask_missing", path=folder / name, folder=place)
        found = self._files.measured[place][mask]
        self._used.add(place / mask)
        if found.error:
            raise Problem("mask_broken", path=place / mask, reason=found.error)
        if found.size != size:
            mine, theirs = (f"{width}x{height}" for width, height in (found.size, size))
            raise Problem("mask_size", path=place / mask, size=mine, picture=folder / name, wanted=theirs)
        return place / mask

    def unused(self) -> list[Path]:
        """Masks of no picture."""
        every = [folder / name for folder, names in self._by_stem.items() for name in names.values()]
        return [mask for mask in every if mask not in self._used]
