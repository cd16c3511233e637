"""The folders of a run with their pictures measured: from the index where it knows them, else by decoding them once."""

import os
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tehon.data.plan.entries import NO_CAPTIONS
from tehon.data.plan.index import Index
from tehon.data.plan.listing import Listing, Stamps, list_folder
from tehon.data.plan.measurements import Measurements
from tehon.messages.problem import Problem
from tehon.planning.troubles import Troubles

if TYPE_CHECKING:
    from tehon.data.plan.captions_beside import CaptionsBeside

MANY = 400_000
"""Bytes of the stamps of captions, which some ten thousand have; with fewer, starting a process takes longer than it
saves."""
_PAYS = os.name == "posix"
"""Whether it can save anything: Windows tells the times of files along with their names."""


class Files:
    """`listings` and `measured`, what was seen of the pictures of a listing, by folder. `texts` are the extensions of
    captions."""

    def __init__(self, index: Index, troubles: Troubles, texts: Collection[str]) -> None:
        self.index = index
        self.listings: dict[Path, Listing] = {}
        self.measured: dict[Path, Measurements] = {}
        self._troubles = troubles
        self._texts = texts

    def measure(self, folders: Iterable[Path]) -> None:
        """Lists folders and measures their pictures, those of all folders together."""
        fresh = [folder for folder in dict.fromkeys(folders) if folder not in self.listings]
        unknown: dict[Path, list[int]] = {}
        with self._captions_beside(fresh) as captions:
            for folder in fresh:
                listing = self._list(folder, captions)
                self.measured[folder], unknown[folder] = self.index.pictures(folder, listing.pictures)
        self._look_at([(folder, number) for folder, numbers in unknown.items() for number in numbers])
        for folder in fresh:
            self.index.keep_pictures(folder, self.listings[folder].pictures, self.measured[folder])

    def _look_at(self, pictures: list[tuple[Path, int]]) -> None:
        """Measures pictures by their folders and numbers."""
        if not pictures:
            return
        from tehon.data.plan.scan import measure_all  # Pillow and processes, which most plans need not load

        names = (self.listings[folder].pictures.names[number] for folder, number in pictures)
        found = measure_all([os.path.join(folder, name) for (folder, _), name in zip(pictures, names, strict=True)])
        for (folder, number), one in zip(pictures, found, strict=True):
            self.measured[folder][number] = one

    def _captions_beside(self, folders: list[Path]) -> "AbstractContextManager[CaptionsBeside | None]":
        """Whoever lists the captions of these folders meanwhile, where there were many the last time."""
        if not _PAYS or self.index.size_of_captions(folders) < MANY:
            return nullcontext()
        from tehon.data.plan.captions_beside import CaptionsBeside

        return CaptionsBeside(folders, self._texts)

    def _list(self, folder: Path, captions: "CaptionsBeside | None") -> Listing:
        try:
            if captions:
                listing = list_folder(folder, self._texts, NO_CAPTIONS).with_captions(captions.of(folder))
            else:
                listing = list_folder(folder, self._texts)
        except OSError as error:
            reason = error.strerror or error
            self._troubles.problems.append(Problem("folder_unreadable", field="data", path=folder, reason=reason))
            listing = Listing(folder, texts={extension: Stamps.of(()) for extension in self._texts})
        self.listings[folder] = listing
        return listing
