"""The captions of one set's pictures, by the order of their sources: metadata file, caption file, folder's words."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tehon.data.plan.captions import (
    CLASS_WORDS,
    FILE_NAME,
    METADATA,
    FolderCaptions,
    caption_of_name,
    caption_suffixes,
    caption_text,
    read_captions,
)
from tehon.data.plan.entries import split_name
from tehon.data.plan.folders import PictureFolder, has_pictures
from tehon.data.plan.index import Index
from tehon.data.plan.listing import Listing
from tehon.data.plan.metadata_file import MetadataFile
from tehon.messages.problem import Problem
from tehon.planning.troubles import LeftOut, Troubles
from tehon.settings.sets import DataSet

_CAPTION_LIKE = frozenset((".txt", ".caption", ".cap", ".tags"))


@dataclass(frozen=True)
class Chosen:
    """Captions of a folder's pictures, column by column: what a `Caption` has of each. `without` are the numbers of
    those that are left out for want of one."""

    texts: list[str]
    sources: list[str]
    without: dict[int, LeftOut] = field(default_factory=dict[int, LeftOut])


class Captions:
    """Finds captions, and notes which are missing, empty, or of no picture."""

    def __init__(self, one: DataSet, index: Index, troubles: Troubles) -> None:
        self._data = one.data
        self._index = index
        self._troubles = troubles
        self._metadata: MetadataFile | None = None
        if one.data.metadata_file:
            try:
                self._metadata = MetadataFile(Path(one.data.metadata_file), one.data.caption_separator)
            except Problem as problem:
                troubles.problems += problem.all

    def of(self, folder: PictureFolder, listing: Listing) -> FolderCaptions:
        """What the caption files of a folder say; notes what is odd about the folder's files."""
        if not listing.pictures:
            self._troubles.note("folder_without_pictures", folder.path)
        stems = set(listing.pictures.stems)
        self._note_others(listing, stems)
        suffixes = caption_suffixes(self._data.caption_extension)
        files = read_captions(listing, suffixes, self._index, self._data.enable_wildcard)
        self._note_unused(listing, stems)
        return files

    def choose(self, folder: PictureFolder, files: FolderCaptions, names: list[str], numbers: Sequence[int]) -> Chosen:
        """The captions of those of the folder's pictures that have these numbers."""
        chosen = Chosen([text if isinstance(text, str) else "" for text in files.texts], files.sources)
        for number in numbers:
            text = files.texts[number]
            if self._metadata or not isinstance(text, str):
                self._elsewhere(folder, names[number], text, number, chosen)
        for number in numbers:
            wordless = chosen.sources[number] == CLASS_WORDS and not self._data.is_reg
            if not chosen.texts[number] and number not in chosen.without and not wordless:
                self._troubles.note("captions_empty", folder.path / names[number])
        return chosen

    def unused(self) -> list[str]:
        """Entries of the metadata file that no picture has."""
        return self._metadata.unused() if self._metadata else []

    def _elsewhere(
        self, folder: PictureFolder, name: str, file: str | Problem | None, number: int, chosen: Chosen
    ) -> None:
        """Chooses for a picture that has no caption file, or where a metadata file comes first."""
        listed = self._metadata.caption(folder.path / name, folder.path) if self._metadata else None
        if listed is not None:
            chosen.texts[number] = caption_text(listed, self._data.enable_wildcard)
            chosen.sources[number] = METADATA
        elif isinstance(file, Problem):
            chosen.without[number] = file, False
        elif file is not None:
            chosen.texts[number] = file
        elif self._data.is_reg or self._data.missing_captions == "class_words":
            chosen.texts[number], chosen.sources[number] = folder.words, CLASS_WORDS
            if not self._data.is_reg:
                self._troubles.note("captions_missing" if folder.words else "captions_wordless", folder.path / name)
        elif self._data.missing_captions == "file_name":
            chosen.texts[number], chosen.sources[number] = caption_of_name(name), FILE_NAME
        else:
            missing = Problem("caption_missing", path=folder.path / name)
            chosen.without[number] = missing, self._data.missing_captions == "skip"

    def _note_others(self, listing: Listing, stems: set[str]) -> None:
        for name in listing.not_read:
            self._troubles.note("not_read", listing.folder / name)
        for path in filter(has_pictures, listing.folders):
            self._troubles.note("folders_inside", path)
        if len(stems) < len(listing.pictures):
            seen: set[str] = set()
            for name, stem in zip(listing.pictures.names, listing.pictures.stems, strict=True):
                if stem in seen:
                    self._troubles.note("same_stem", listing.folder / name)
                seen.add(stem)

    def _note_unused(self, listing: Listing, stems: set[str]) -> None:
        """Caption files of no picture, as a misspelt name leaves them."""
        names = [name for name in listing.others if split_name(name)[1] in _CAPTION_LIKE]
        unused = [name for name in names if split_name(name)[0] not in stems]
        for extension in _CAPTION_LIKE & listing.texts.keys():
            files = listing.texts[extension]
            if not stems.issuperset(files.stems):
                unused += [name for name, stem in zip(files.names, files.stems, strict=True) if stem not in stems]
        for name in sorted(unused):
            self._troubles.note("captions_unused", os.path.join(listing.folder, name))
