"""The mask of each picture, found by its name without extension."""

from pathlib import Path

from tehon.data.plan.buckets import Size
from tehon.data.plan.entries import split_name
from tehon.data.plan.measurements import Measured
from tehon.messages.problem import Problem
from tehon.planning.files import Files


class Masks:
    """The masks of one set: in a folder named like the picture's own if there is one, else in the mask folder."""

    def __init__(self, folders: list[Path], files: Files) -> None:
        self._base = folders[0] if folders else None
        self._by_stem = {folder: _masks_in(folder, files) for folder in folders}
        self._used: set[Path] = set()

    def of(self, folder: Path, name: str, size: Size) -> Path:
        """The mask of a picture of this size; a Problem when there is none, or none that fits."""
        assert self._base, "only sets with a mask folder ask"
        own = self._base / folder.name
        place = own if own in self._by_stem else self._base
        mask = self._by_stem[place].get(split_name(name)[0])
        if mask is None:
            raise Problem("mask_missing", path=folder / name, folder=place)
        path, found = mask
        self._used.add(path)
        if found.error:
            raise Problem("mask_broken", path=path, reason=found.error)
        if found.size != size:
            mine, theirs = (f"{width}x{height}" for width, height in (found.size, size))
            raise Problem("mask_size", path=path, size=mine, picture=folder / name, wanted=theirs)
        return path

    def unused(self) -> list[Path]:
        """Masks of no picture."""
        every = [path for masks in self._by_stem.values() for path, _ in masks.values()]
        return [mask for mask in every if mask not in self._used]


def _masks_in(folder: Path, files: Files) -> dict[str, tuple[Path, Measured]]:
    """{name without extension: a mask and what was seen of it}."""
    pictures, measured = files.listings[folder].pictures, files.measured[folder]
    return {stem: (folder / pictures.names[number], measured[number]) for number, stem in enumerate(pictures.stems)}
