"""The folders of a run with their pictures measured: from the index where it knows them, else by decoding them once."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from tehon.data.plan.images import Measured
from tehon.data.plan.index import Index
from tehon.data.plan.listing import Listing, list_folder
from tehon.data.plan.scan import measure_all
from tehon.messages.problem import Problem
from tehon.planning.troubles import Troubles


class Files:
    """`listings` and `measured`, what was seen of each picture of a listing, by folder. `texts` are the extensions of
    captions."""

    def __init__(self, index: Index, troubles: Troubles, texts: Collection[str]) -> None:
        self.index = index
        self.listings: dict[Path, Listing] = {}
        self.measured: dict[Path, list[Measured]] = {}
        self._troubles = troubles
        self._texts = texts

    def measure(self, folders: Iterable[Path]) -> None:
        """Lists folders and measures their pictures, those of all folders together."""
        fresh = [folder for folder in dict.fromkeys(folders) if folder not in self.listings]
        known = {folder: self.index.pictures(folder, self._list(folder).pictures) for folder in fresh}
        new = [
            os.path.join(folder, stamp[0])
            for folder, seen in known.items()
            for stamp, one in zip(self.listings[folder].pictures, seen, strict=True)
            if one is None
        ]
        found = iter(measure_all(new))
        for folder, seen in known.items():
            measured = self.measured[folder] = [next(found) if one is None else one for one in seen]
            self.index.keep_pictures(folder, self.listings[folder].pictures, measured)

    def _list(self, folder: Path) -> Listing:
        try:
            listing = list_folder(folder, self._texts)
        except OSError as error:
            reason = error.strerror or error
            self._troubles.problems.append(Problem("folder_unreadable", field="data", path=folder, reason=reason))
            listing = Listing(folder, texts={extension: {} for extension in self._texts})
        self.listings[folder] = listing
        return listing
