"""The folders of a run with their pictures measured: from the index where it knows them, else by decoding them once."""

import os
from collections.abc import Iterable
from pathlib import Path

from tehon.data.plan.images import Measured
from tehon.data.plan.index import Index
from tehon.data.plan.listing import FileStamp, Listing, list_folder
from tehon.data.plan.scan import measure_all
from tehon.messages.problem import Problem
from tehon.planning.troubles import Troubles

_UNSEEN = Measured()


class Files:
    """`listings` and `measured` = {picture: what was seen} by folder."""

    def __init__(self, index: Index, troubles: Troubles) -> None:
        self.index = index
        self.listings: dict[Path, Listing] = {}
        self.measured: dict[Path, dict[str, Measured]] = {}
        self._troubles = troubles

    def measure(self, folders: Iterable[Path]) -> None:
        """Lists folders and measures their pictures, those of all folders together."""
        new: list[tuple[Path, FileStamp]] = []
        for folder in dict.fromkeys(folders):
            if folder in self.listings:
                continue
            listing = self._list(folder)
            known = self.index.pictures(folder)
            seen = [known.get(stamp) for stamp in listing.pictures]
            self.measured[folder] = {
                stamp[0]: one or _UNSEEN for stamp, one in zip(listing.pictures, seen, strict=True)
            }
            missing = [stamp for stamp, one in zip(listing.pictures, seen, strict=True) if one is None]
            new += [(folder, stamp) for stamp in missing]
            if len(known) > len(listing.pictures) - len(missing):
                self.index.keep_pictures(folder, {}, known.keys() - set(listing.pictures))
        found = measure_all([os.path.join(folder, stamp[0]) for folder, stamp in new])
        fresh: dict[Path, dict[FileStamp, Measured]] = {}
        for (folder, stamp), one in zip(new, found, strict=True):
            self.measured[folder][stamp[0]] = one
            fresh.setdefault(folder, {})[stamp] = one
        for folder, rows in fresh.items():
            self.index.keep_pictures(folder, rows, ())

    def _list(self, folder: Path) -> Listing:
        try:
            listing = list_folder(folder)
        except OSError as error:
            reason = error.strerror or error
            self._troubles.problems.append(Problem("folder_unreadable", field="data", path=folder, reason=reason))
            listing = Listing(folder)
        self.listings[folder] = listing
        return listing
