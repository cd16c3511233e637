"""The captions of one set's pictures, by the order of their sources: metadata file, caption file, folder's words."""

import os
from collections.abc import Callable
from pathlib import Path

from tehon.data.plan.captions import CLASS_WORDS, METADATA, Caption, caption_suffixes, caption_text, read_captions
from tehon.data.plan.folders import PictureFolder, has_pictures
from tehon.data.plan.index import Index
from tehon.data.plan.listing import Listing, split_name
from tehon.data.plan.metadata_file import MetadataFile
from tehon.messages.problem import Problem
from tehon.planning.troubles import Troubles
from tehon.settings.sets import DataSet

_CAPTION_LIKE = frozenset((".txt", ".caption", ".cap", ".tags"))


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

    def of(self, folder: PictureFolder, listing: Listing) -> Callable[[str], Caption | None]:
        """The function from a picture of the folder to its caption; None when it is left out for want of one."""
        if not listing.pictures:
            self._troubles.note("folder_without_pictures", folder.path)
        self._note_others(listing)
        suffixes = caption_suffixes(self._data.caption_extension)
        files = read_captions(listing, suffixes, self._index, self._data.enable_wildcard)
        self._note_unused(listing)

        def find(name: str) -> Caption | None:
            caption = files.get(name)
            if self._metadata or not isinstance(caption, Caption):
                caption = self._caption(folder, name, caption)
            if caption and not caption.text:
                self._troubles.note("captions_empty", folder.path / name)
            return caption

        return find

    def unused(self) -> list[str]:
        """Entries of the metadata file that no picture has."""
        return self._metadata.unused() if self._metadata else []

    def _caption(self, folder: PictureFolder, name: str, file: Caption | Problem | None) -> Caption | None:
        if self._metadata:
            text = self._metadata.caption(folder.path / name, folder.path)
            if text is not None:
                return Caption(caption_text(text, self._data.enable_wildcard), METADATA)
        if isinstance(file, Problem):
            self._troubles.problems.append(file)
            return None
        if file:
            return file
        if not self._data.is_reg:
            policy = self._data.missing_captions
            if policy != "class_words":
                self._troubles.leave_out(Problem("caption_missing", path=folder.path / name), policy == "skip")
                return None
            self._troubles.note("captions_missing", folder.path / name)
        return Caption(folder.words, CLASS_WORDS)

    def _note_others(self, listing: Listing) -> None:
        for name in listing.not_read:
            self._troubles.note("not_read", listing.folder / name)
        for path in filter(has_pictures, listing.folders):
            self._troubles.note("folders_inside", path)
        if len(set(listing.stems)) < len(listing.stems):
            seen: set[str] = set()
            for (name, *_), stem in zip(listing.pictures, listing.stems, strict=True):
                if stem in seen:
                    self._troubles.note("same_stem", listing.folder / name)
                seen.add(stem)

    def _note_unused(self, listing: Listing) -> None:
        """Caption files of no picture, as a misspelt name leaves them."""
        stems = set(listing.stems)
        names = [name for name in listing.others if split_name(name)[1] in _CAPTION_LIKE]
        unused = [name for name in names if split_name(name)[0] not in stems]
        for extension in _CAPTION_LIKE & listing.texts.keys():
            unused += [stamp[0] for stem, stamp in listing.texts[extension].items() if stem not in stems]
        for name in sorted(unused):
            self._troubles.note("captions_unused", os.path.join(listing.folder, name))
